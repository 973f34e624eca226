"""The Dockerfile as a list of instructions: what the tests of the image look at. No expansion of variables."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "Dockerfile"


@dataclass(frozen=True)
class Instruction:
    """One instruction of one stage; stage 0 is before the first FROM."""

    stage: int
    name: str
    text: str

    @property
    def words(self) -> list[str]:
        """The exec form. Fails for the shell form, which needs a shell."""
        words: list[str] = json.loads(self.text[self.text.index("[") :])
        return words


def parse(text: str) -> list[Instruction]:
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    found, stage = [], 0
    for line in joined.splitlines():
        name, _, rest = line.strip().partition(" ")
        stage += name == "FROM"
        found.append(Instruction(stage, name, rest.strip()))
    return found


def of_the_image(name: str) -> list[Instruction]:
    """The instructions of that name in the last stage."""
    instructions = parse(DOCKERFILE.read_text())
    return [each for each in instructions if each.stage == instructions[-1].stage and each.name == name]


def the(name: str) -> Instruction:
    (found,) = of_the_image(name)
    return found
