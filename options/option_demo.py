"""Flags of demo.py."""

from dataclasses import dataclass

from options.flags import flag
from options.sampling import WeightOptions


@dataclass(frozen=True)
class DemoOptions(WeightOptions):
    host: str = flag("127.0.0.1", "address to listen at; 0.0.0.0 lets others in the network in")
    port: int = flag(7860, "port to listen at; 0 takes any that is free", least=0)
    upper_pth: str | None = flag(None, "stage-1 checkpoint of the upper body (default: the one that ships, if any)")
    upper_trans: str | None = flag(None, "stage-2 checkpoint of the upper body (default: the one that ships, if any)")
    device: str = flag("auto", "auto, cpu or cuda")
