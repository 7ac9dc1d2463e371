"""What an image under construction is, and how an instruction changes it. Pure.

`config` is the `config` member of an OCI image config (Env, Cmd, ...), which is never changed in place. Source of the
rules: BuildKit, frontend/dockerfile/dockerfile2llb; the OCI image-spec's config section; moby's docker-image-spec.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from nodeagent.building.instructions import DEFAULT_SHELL, PLATFORM, Instruction

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class State:
    """`layers` are digests from the bottom up; `variables` the ARGs in scope that have a value, and the environment, of
    which the one that was set last counts; `created` the RFC 3339 time of the newest layer, so that a build that only met
    the cache yields the same image again."""

    config: Mapping[str, Any] = field(default_factory=dict)
    layers: tuple[str, ...] = ()
    history: tuple[Mapping[str, Any], ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    created: str = "1970-01-01T00:00:00Z"
    author: str = ""
    # Whether CMD came in this stage: ENTRYPOINT resets an inherited one.
    has_cmd: bool = False

    @property
    def env(self) -> dict[str, str]:
        return dict(item.split("=", 1) for item in self.config.get("Env") or [] if "=" in item)

    @property
    def workdir(self) -> str:
        return str(self.config.get("WorkingDir") or "/")

    @property
    def user(self) -> str:
        return str(self.config.get("User") or "")

    @property
    def shell(self) -> tuple[str, ...]:
        return tuple(map(str, self.config.get("Shell") or DEFAULT_SHELL))

    @property
    def triggers(self) -> tuple[str, ...]:
        """The ONBUILD expressions, for stages that begin from this one."""
        return tuple(map(str, self.config.get("OnBuild") or ()))

    def as_base(self) -> State:
        """How a stage FROM this begins: it inherits ARGs with their values, where no ENV of the image has the name, and
        not the triggers."""
        config = {name: value for name, value in self.config.items() if name != "OnBuild"}
        if "PATH" not in self.env:
            config["Env"] = [*(config.get("Env") or []), f"PATH={DEFAULT_PATH}"]
        based = replace(self, config=config, has_cmd=False)
        return replace(based, variables={**self.variables, **based.env})

    def with_layer(self, digest: str, instruction: Instruction, created: str) -> State:
        """After a step that wrote; an empty digest says that it wrote nothing."""
        done = self.noted(instruction, created=created if digest else "")
        return replace(done, layers=(*done.layers, digest), created=created) if digest else done

    def noted(self, instruction: Instruction, *, created: str = "") -> State:
        """With the instruction in the history; `created` is the time of its layer, empty for none."""
        entry = {"created_by": instruction.text, **({"created": created} if created else {"empty_layer": True})}
        return replace(self, history=(*self.history, entry))

    def with_config(self, instruction: Instruction, **members: Any) -> State:
        """With members of the config set, None to remove one, and the instruction in the history."""
        merged = {name: value for name, value in {**self.config, **members}.items() if value is not None}
        return replace(self, config=merged).noted(instruction)


def document(state: State) -> dict[str, Any]:
    """The OCI image config; its digest as canonical JSON is the image's id."""
    system, _, architecture = PLATFORM.partition("/")
    return {
        "architecture": architecture, "os": system, "created": state.created, "config": dict(state.config),
        "rootfs": {"type": "layers", "diff_ids": list(state.layers)}, "history": [dict(item) for item in state.history],
        **({"author": state.author} if state.author else {}),
    }  # fmt: skip
