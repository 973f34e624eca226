"""Laravel's encrypted cookies, respelled: PHP itself says which of them it reads as the same."""

import base64
import json
import random
import subprocess

from bench_stacks import program

from sidecar.core.profiles import carriers_of
from sidecar.core.reading import Reading

LARAVEL = {"iv": "AAECAwQFBgcICQoLDA0ODw==", "value": "c2VjcmV0IHNlc3Npb24gaWQ=", "mac": "ab" * 32, "tag": ""}
HONEST = base64.b64encode(json.dumps(LARAVEL).encode()).decode()
CARRIERS = carriers_of(["laravel"], [])

# What Laravel's Encrypter does with a cookie before it decrypts: `getJsonPayload`, `validPayload`, the mac over iv and
# value as they are written.
SCRIPT = r"""
    while (($line = fgets(STDIN)) !== false) {
        $value = rawurldecode(base64_decode($line));
        $payload = json_decode(base64_decode($value), true);
        $is_read = is_array($payload);
        foreach (['iv', 'value', 'mac'] as $item) {
            $is_read = $is_read && isset($payload[$item]) && is_string($payload[$item]);
        }
        $is_same = $is_read && $payload['iv'].$payload['value'] === $argv[1] && $payload['mac'] === $argv[2];
        echo $is_same ? "same\n" : "other\n";
    }"""


def respelled(draw: random.Random) -> str:
    """The cookie in another spelling, which PHP may or may not read as the same."""
    members = list(LARAVEL.items())
    draw.shuffle(members)
    members += [("x", draw.choice([1, "y", [], {"z": None}]))] * draw.randint(0, 2)
    blank = draw.choice(["", " ", "\n", "\t "])
    pairs = (f"{blank}{json.dumps(key)}{blank}:{blank}{json.dumps(value)}" for key, value in members)
    text = f"{blank}{{{','.join(pairs)}{blank}}}{blank}"
    if draw.random() < 0.3:
        text = text.replace("i", "\\u0069")
    if draw.random() < 0.2:
        text = text.replace("{", '{"n": ' + draw.choice(["9" * 5000, "1e999", "-0.0", "1E+2"]) + ", ", 1)
    value = base64.b64encode(text.encode()).decode()
    for _ in range(draw.randint(0, 3)):
        place = draw.randrange(len(value) + 1)
        value = (
            value[:place] + draw.choice(["-", "_", "=", "%", "%3D", "!", ".", "%25", "%2B", "+", "%%"]) + value[place:]
        )
    return value.rstrip("=") if draw.random() < 0.3 else value


def read(value: str) -> Reading:
    return CARRIERS.in_cookies([f"laravel_session={value}".encode()])


def test_no_spelling_that_php_reads_as_the_session_is_missed() -> None:
    draw = random.Random(7)
    spelled = [HONEST, *(respelled(draw) for _ in range(4000))]
    lines = b"\n".join(base64.b64encode(value.encode()) for value in spelled)
    command = [program("php"), "-r", SCRIPT, "--", LARAVEL["iv"] + LARAVEL["value"], LARAVEL["mac"]]
    said = subprocess.run(command, input=lines, capture_output=True, check=True).stdout.split()
    assert len(said) == len(spelled)
    assert 500 < said.count(b"same") < len(said)  # else it would say nothing
    (known,) = read(HONEST).values
    for value, answer in zip(spelled, said, strict=True):
        reading = read(value)
        assert answer == b"other" or reading.is_ambiguous or known in reading.values, value
