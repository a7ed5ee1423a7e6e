from engine.errors import UserError as UserError
from engine.plan.files import load_plan as load_plan
from engine.plan.schema import Plan as Plan
from engine.planning.build import build_plan as build_plan
from engine.planning.check import check as check_plan
from engine.planning.data import scan_data as scan_data
from engine.train.loop import StepReport as StepReport
from engine.train.opening import open_training as open_training
from engine.train.training import Training as Training
from engine.train.watch import Watch as Watch

__all__ = [
    "Plan",
    "StepReport",
    "Training",
    "UserError",
    "Watch",
    "build_plan",
    "check_plan",
    "load_plan",
    "open_training",
    "scan_data",
]
