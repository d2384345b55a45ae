"""A draw whose choices are given."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Given:
    """Choices by name: an integer, a number in [0, 1), or for `flip` yes or no.

    `asked` has the choices that were made: the name, and of an integer its range.
    """

    choices: dict[str, float] = field(default_factory=dict)
    asked: dict[str, tuple[int, int] | None] = field(default_factory=dict)

    def uniform(self, name):
        self.asked[name] = None
        return self.choices[name]

    def integer(self, name, low, high):
        self.asked[name] = low, high
        value = self.choices.get(name, low)
        assert low <= value <= high, f"{name}={value} is not in {low} to {high}"
        return value

    def flip(self, name, probability=0.5):
        assert probability == 0.5
        self.asked[name] = None
        return self.choices.get(name, False)
