"""Checks of this machine, with advice on how to fix what does not work."""

from it_study.commands.doctor.checks import examine as examine
from it_study.commands.doctor.doctor_check import (
  BROKEN as BROKEN,
  OK as OK,
  OPTIONAL as OPTIONAL,
  WARNING as WARNING,
  DoctorCheck as DoctorCheck,
)
