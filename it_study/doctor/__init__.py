"""What works on this machine, and what to do about the rest."""

from it_study.doctor.checks import examine as examine
from it_study.doctor.finding import BROKEN as BROKEN
from it_study.doctor.finding import OK as OK
from it_study.doctor.finding import OPTIONAL as OPTIONAL
from it_study.doctor.finding import WARNING as WARNING
from it_study.doctor.finding import Finding as Finding
