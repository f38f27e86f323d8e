"""Muon with one orthogonalization for all weights of a shape."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from timm.optim import muon
from torch import Tensor


class BatchedMuon(muon.Muon):
    """timm's Muon, whose steps orthogonalize all weights of one shape together.

    Options, state and results are timm's. One matrix at a time, most of the time goes into starting
    operations: DDRNet has 57 convolutions of 19 shapes.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change the weights once; timm's own step changes those that are no matrices."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        done: list[tuple[Tensor, Tensor]] = []  # weights and their gradients
        for group in self.param_groups:
            pairs = self._matrices(group)
            self._step_together(pairs, group)
            done += pairs
        for weight, _ in done:
            weight.grad = None  # timm passes over it
        step_of_timm: Any = super().step
        step_of_timm()
        for weight, gradient in done:
            weight.grad = gradient
        return loss

    def _matrices(self, group: dict[str, Any]) -> list[tuple[Tensor, Tensor]]:
        """Return weights and gradients that timm flattens to matrices, after its first step."""
        flattens = group["conv_mode"] == "flatten" and group.get("algo", "muon") == "muon"
        if not flattens or group.get("scale_eps"):
            return []
        return [
            (weight, weight.grad)
            for weight in group["params"]
            if weight.grad is not None and self.state[weight].get("use_muon")
        ]

    def _step_together(self, pairs: list[tuple[Tensor, Tensor]], group: dict[str, Any]) -> None:
        lr, momentum = group["lr"], group["momentum"]
        coefficients = muon.resolve_ns_coefficients(group["ns_coefficients"], muon._COEFFICIENTS)
        updates: dict[torch.Size, list[Tensor]] = defaultdict(list)  # each (out, in * kh * kw)
        members: dict[torch.Size, list[Tensor]] = defaultdict(list)
        for weight, gradient in pairs:
            weight.mul_(1 - lr * group["weight_decay"])
            average = self.state[weight]["momentum_buffer"].lerp_(gradient, 1 - momentum)
            update = gradient.lerp(average, momentum) if group["nesterov"] else average
            updates[weight.shape].append(update.reshape(len(update), -1))
            members[weight.shape].append(weight)
        for shape, matrices in updates.items():
            orthogonal = muon.zeropower_via_newtonschulz(  # (weights, out, in * kh * kw)
                torch.stack(matrices),
                group["ns_steps"],
                coefficients,
                eps=group["eps"],
                safety_factor=group["safety_factor"],
            )
            scale = 1.0
            if group["adjust_lr_fn"]:
                scale = muon.get_lr_scale(orthogonal.shape, group["adjust_lr_fn"])
            for weight, change in zip(members[shape], orthogonal, strict=True):
                weight.add_(change.reshape(shape), alpha=-lr * scale)
