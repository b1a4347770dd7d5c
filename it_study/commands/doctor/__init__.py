"""What works on this machine, and what to do about the rest."""

from it_study.commands.doctor.checks import examine as examine
from it_study.commands.doctor.finding import (
  BROKEN as BROKEN,
  OK as OK,
  OPTIONAL as OPTIONAL,
  WARNING as WARNING,
  DoctorCheck as DoctorCheck,
)
