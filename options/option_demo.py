"""Flags of demo.py."""

from dataclasses import dataclass

from options.flags import flag


@dataclass(frozen=True)
class DemoOptions:
    host: str = flag("127.0.0.1", "address to listen at; 0.0.0.0 lets others in the network in")
    port: int = flag(7860, "port to listen at; 0 takes any that is free", least=0)
    resume_pth: str | None = flag(None, "stage-1 checkpoint (default: the weights that ship with the code)")
    resume_trans: str | None = flag(None, "stage-2 checkpoint (default: the weights that ship with the code)")
    resume_length: str | None = flag(None, "length model (default: the one that ships, for the weights that ship)")
    upper_pth: str | None = flag(None, "stage-1 checkpoint of the upper body (default: the one that ships, if any)")
    upper_trans: str | None = flag(None, "stage-2 checkpoint of the upper body (default: the one that ships, if any)")
    device: str = flag("auto", "auto, cpu or cuda")
