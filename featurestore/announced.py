"""Feature sets in the order of their announcements, checked against the code that is there."""

from collections.abc import Sequence

from featurestore.catalogue import Catalogue
from featurestore.layout import Layout, Plotter, Starts
from featurestore.specs import FeatureSpec
from schemas import Rules, StateError
from schemas.forecasts import Announcement


def announcement_of(catalogue: Catalogue, border_ns: int = 0) -> Announcement:
    """Return the announcement of all features of a catalogue."""
    return Announcement(
        border_ns=border_ns,
        feature_set_id=catalogue.feature_set_id,
        features={feature.name: feature.version for feature in catalogue.features},
    )


class FeatureSets:
    """The announced sets of one log, and which of them is in force.

    Of two announcements that are not in the order of their borders the first by offset counts.
    Without any, the whole catalogue is in force from the beginning.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        rules: Rules,
        announcements: Sequence[Announcement],
        current: Announcement | None = None,
    ) -> None:
        """Take the announcements; `current` is the one in force, None the first of them."""
        self._catalogue = catalogue
        self._rules = rules
        self._plotter = Plotter(catalogue, rules)
        self._sets = [announcement_of(catalogue)] if not announcements else []
        self._current = 0
        for announcement in announcements:
            self._append(announcement)
        if self._sets[0].border_ns != 0:
            raise StateError(
                f"the first announced feature set begins at {self._sets[0].border_ns}, not at 0: "
                "read ops.model.v1 from its beginning"
            )

        if current is not None:
            self._current = self._place(current)
        self._features(self.current)

    @property
    def current(self) -> Announcement:
        """Return the set in force."""
        return self._sets[self._current]

    @property
    def next(self) -> Announcement | None:
        """Return the set that follows, where one is announced."""
        return self._sets[self._current + 1] if self._current + 1 < len(self._sets) else None

    def add(self, announcement: Announcement) -> None:
        """Take one more announcement; the code needs what it says only when it comes into force."""
        self._append(announcement)

    def _append(self, announcement: Announcement) -> None:
        if self._sets and announcement.border_ns <= self._sets[-1].border_ns:
            return
        if announcement.border_ns % self._rules.row_interval_ns:
            raise StateError(
                f"feature set {announcement.feature_set_id} is announced at {announcement.border_ns}, "
                f"which is no row border: announce it at a multiple of {self._rules.row_interval_ns} ns"
            )
        self._sets.append(announcement)

    def _place(self, current: Announcement) -> int:
        if current not in self._sets:
            raise StateError(
                f"the checkpoint has feature set {current.feature_set_id} from {current.border_ns}, which "
                "was not announced: start with the announcements of its log, or from no checkpoint"
            )
        return self._sets.index(current)

    def check_next(self, closed_ns: int) -> None:
        """Raise StateError where the next set should have been in force already."""
        if self.next is not None and self.next.border_ns < closed_ns:
            raise StateError(
                f"feature set {self.next.feature_set_id} is announced at {self.next.border_ns}, and tiles up "
                f"to {closed_ns} are closed without it: announce it again at a later border"
            )

    def follow(self, starts: Starts) -> Layout:
        """Put the next set in force and return its layout; `starts` are those of the set before.

        A feature whose version was raised begins anew, as one that was not there.
        """
        before = self.current.features
        self._current += 1
        same = dict(before.items() & self.current.features.items())
        kept = {name: start for name, start in starts.features.items() if name in same}
        return self.layout(Starts(starts.series, kept))

    def layout(self, starts: Starts | None) -> Layout:
        """Return the layout of the set in force, which follows one with these starts."""
        announcement = self.current
        return self._plotter.plot(
            self._features(announcement),
            announcement.feature_set_id,
            starts=starts,
            border_ns=announcement.border_ns,
        )

    def _features(self, announcement: Announcement) -> list[FeatureSpec]:
        """Return the announced features as the code has them; raises StateError where it has not."""
        known = self._catalogue.known
        for name, version in announcement.features.items():
            if (name, version) not in known:
                raise StateError(self._missing(name, version, announcement.border_ns))
        return [known[item] for item in announcement.features.items()]

    def _missing(self, name: str, version: str, border_ns: int) -> str:
        present = {feature.name: feature for feature in self._catalogue.features}.get(name)
        if present is None:
            return (
                f"feature {name} is announced from {border_ns} on, and no file in "
                "featurestore/features defines it: put it back, or announce a set without it"
            )
        return (
            f"feature {name} is announced as {version}, and the code here has {present.version}: keep the code "
            f'of before beside the new one with former="{present.quantity}", or put it back'
        )
