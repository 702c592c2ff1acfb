"""What people decide of a profile's versions: checked against the bundles and the scores, then written."""

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from schemas.decisions import DecisionKind, ModelDecision
from schemas.errors import SettingsError, StateError
from schemas.rules import PROFILES
from streams.challenge import differences
from streams.decisions import COLD_LEAD_NS, LEAD_NS, border_ns, decide, read_decisions
from streams.infer.models import Models, read_models, unlike
from streams.settings import Settings
from triton_models.bundle import Bundle
from triton_models.evaluation.promotion import LEVEL, TEST, Verdict, judge
from triton_models.export import read_published, versions

Tell = Callable[[int], None]


class Switching:
    """The versions of one profile as they are now, and what may be done with them.

    Every method raises StateError that says what is wrong and what to do.
    """

    def __init__(self, settings: Settings, profile: str) -> None:
        if profile not in PROFILES:
            raise SettingsError(f"PROFILE: expected {' or '.join(PROFILES)}, got {profile!r}")
        self.settings = replace(settings, profile=profile)
        self.repository = Path(settings.model_repository)
        self.log = read_decisions(self.settings)
        self.standing = self.log.at()

    @cached_property
    def active(self) -> str:
        """The version that makes the forecasts once all borders are passed."""
        return self.standing.history[-1] if self.standing.history else self._models("").version

    def role(self, bundle: Bundle) -> str:
        """Return what a bundle is there for, in a word or two."""
        version = bundle.spec.version
        told = [each.hashes.get(bundle.spec.name, "") for each, _ in self.log.decisions if each.version == version]
        if version == self.active:
            role = "active"
        elif version == self.standing.shadow:
            role = "shadow"
        elif version in self.standing.history[-2:]:
            role = "before the active"
        else:
            role = "retired" if told or version == self.log.first() else "never decided on"
        changed = told and told[-1] not in ("", bundle.hash)
        return f"{role}, other bytes than were decided on" if changed else role

    def shadow(self, version: str) -> ModelDecision:
        """Have a version asked and scored beside the active one."""
        models = self._candidate(version)
        active = self._models(self.active)
        if models.feature_set_id != active.feature_set_id:
            raise StateError(
                f"version {version} learned from features {models.feature_set_id}, version {active.version} from "
                f"{active.feature_set_id}: no row fits both; promote it with --force, or train both anew"
            )
        if version == self.standing.shadow:
            raise StateError(f"version {version} of {self.settings.profile} is in shadow already")
        instead = f" instead of version {self.standing.shadow}" if self.standing.shadow else ""
        return self._write("shadow", models, f"to be compared with version {self.active}{instead}")

    def withdraw(self) -> ModelDecision:
        """Ask the version in shadow no more."""
        version = self.standing.shadow
        if not version:
            raise StateError(f"no version of {self.settings.profile} is in shadow")
        decision = ModelDecision(
            kind="withdraw",
            profile=self.settings.profile,
            version=version,
            before=self.active,
            border_ns=border_ns(self.settings),
            hashes={},
            reason="withdrawn",
        )
        decide(self.settings, decision)
        return decision

    def promote(self, version: str, force: str = "", tell: Tell = lambda _: None) -> ModelDecision:
        """Let a version make the forecasts if the test, or `force`, a reason of the operator's, says so.

        Where it does not, the decision is a refusal. `tell` is called with how many scores were read.
        """
        models = self._candidate(version)
        in_shadow = self.standing.shadow == version
        if not (in_shadow or force):
            now = f"version {self.standing.shadow} is" if self.standing.shadow else "none is"
            command = f"foreshock model shadow {self.settings.profile} {version}"
            raise StateError(
                f"version {version} is not in shadow, {now}: `{command}`, and promote it once it was scored"
            )
        verdict = self._verdict(version, tell) if in_shadow else Verdict(False, "it was not in shadow", 0.0, [])
        if not verdict.promoted and not force:
            return self._write("refuse", models, verdict.reason, verdict)
        reason = f"{force}; against the test: {verdict.reason}" if not verdict.promoted else verdict.reason
        return self._write("promote", models, reason, verdict, forced=not verdict.promoted)

    def rollback(self) -> ModelDecision:
        """Let the version before the active one make the forecasts again."""
        history = self.standing.history
        if len(history) <= 1:
            raise StateError(f"version {self.active} of {self.settings.profile} is the first: there is none before it")
        return self._write("rollback", self._models(history[-2]), f"back from version {history[-1]}")

    def _verdict(self, version: str, tell: Tell) -> Verdict:
        written_ms = self.log.written_ms(version)
        found = differences(self.settings, version, self.standing.since_ns, written_ms, tell)
        return judge(found.series(), self.standing.refused)

    def _candidate(self, version: str) -> Models:
        """Return the models of a version that may take the active one's place; raises StateError."""
        models = self._models(version)
        if version == self.active:
            raise StateError(f"version {version} of {self.settings.profile} is active already")
        if reason := unlike(self._models(self.active), models):
            raise StateError(reason)
        return models

    def _models(self, version: str) -> Models:
        interval_ns = self.settings.rules.row_interval_ns
        models = read_models(self.settings.profile, self.repository, version=version, row_interval_ns=interval_ns)
        if not models.networks:
            raise StateError(
                f"{self.repository}: no networks of {self.settings.profile} for rows of {interval_ns / 1e9:g} s; "
                "`foreshock train` writes them, FORESHOCK_MODEL_REPOSITORY says where they are"
            )
        return models

    def _write(
        self, kind: DecisionKind, models: Models, reason: str, verdict: Verdict | None = None, *, forced: bool = False
    ) -> ModelDecision:
        known = (*self.standing.history[-2:], self.standing.shadow)
        loaded = models.version in known or kind in {"shadow", "refuse"}
        decision = ModelDecision(
            kind=kind,
            profile=self.settings.profile,
            version=models.version,
            before=self.active,
            border_ns=border_ns(self.settings, LEAD_NS if loaded else COLD_LEAD_NS),
            hashes={network.name: network.hash for network in models.active},
            reason=reason,
            forced=forced,
            test=TEST if verdict and verdict.tests else "",
            better_level=verdict.better_level if verdict else 0.0,
            worse_level=LEVEL if verdict and verdict.better_level else 0.0,
            tests=verdict.tests if verdict else [],
        )
        decide(self.settings, decision)
        return decision


def bundles(settings: Settings) -> list[Bundle]:
    """Return all bundles of the repository, by model, the newest version first; raises StateError for a damaged one."""
    found = []
    for model in sorted(path.parent for path in Path(settings.model_repository).glob("*/config.pbtxt")):
        found += [read_published(version) for version in versions(model)]
    return found
