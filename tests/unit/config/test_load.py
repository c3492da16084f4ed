"""config.load: a Config, or every mistake at once."""

from __future__ import annotations

import contextlib
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.config.delivery import NextHop, SmarthostSection, TlsMode
from gatewayd.config.load import check_files, load, next_hop, parse, secret
from gatewayd.config.reference import keys
from gatewayd.errors import ConfigError, KeyFileError

CORPUS = Path(__file__).parents[2] / "corpus" / "bad-config"
MINIMAL = """
[daemon]
hostname = "mail.example.com"
[tls]
certificate = "/etc/gatewayd/mail.pem"
private_key = "/etc/gatewayd/mail.key"
"""


@pytest.mark.parametrize("file", sorted(CORPUS.glob("*.toml")), ids=lambda file: file.stem)
def test_wrong_file_names_every_mistake(file: Path) -> None:
    """Each mistake has its key, the value as written, and what was expected, in plain words."""
    with pytest.raises(ConfigError) as caught:
        load(file, {})

    assert file.with_suffix(".txt").read_text() == f"{caught.value}\n".replace(str(file), file.name)
    assert caught.value.exit_code == 78


def test_corpus_has_no_expectation_without_a_file() -> None:
    """Every expected text belongs to a file."""
    texts = {file.stem for file in CORPUS.glob("*.txt")}

    assert {file.stem for file in CORPUS.glob("*.toml")} == texts


def test_secret_written_into_the_file_is_never_shown() -> None:
    """Error texts end in terminals and journals; the secret of a wrong file must not."""
    text = (CORPUS / "secrets-inline.toml").read_text()

    with pytest.raises(ConfigError) as caught:
        parse(text, environment={})

    assert "hunter2" in text
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(caught.value.problems)


def test_missing_file_says_what_to_do(tmp_path: Path) -> None:
    """A first start without a file is answered with where to get one, and exit 78."""
    with pytest.raises(ConfigError, match=r"copy conf/minimal\.toml") as caught:
        load(tmp_path / "gatewayd.toml", {})

    assert caught.value.exit_code == 78


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (b"\xff\xfe", "UTF-8 text: octet 0 is not"),
        (b"#" * 1_048_577, "a file of at most 1 MiB"),
        (b"x = " + b"[" * 100_000, "lines of the form"),
        (b"x = " + b"1" * 5_000, "lines of the form"),
    ],
)
def test_file_that_is_no_toml_is_refused(tmp_path: Path, octets: bytes, expected: str) -> None:
    """Whatever is in the file, the answer is a ConfigError."""
    file = tmp_path / "gatewayd.toml"
    file.write_bytes(octets)

    with pytest.raises(ConfigError, match=expected):
        load(file, {})


def test_directory_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    """A path that cannot be read is a ConfigError too."""
    with pytest.raises(ConfigError, match="a file that can be read"):
        load(tmp_path, {})


def test_byte_order_mark_is_taken() -> None:
    """Editors of other systems begin a file with one."""
    assert tomllib.loads(MINIMAL)["daemon"]["hostname"] == parse(MINIMAL).daemon.hostname


def test_credential_becomes_a_path_under_systemd() -> None:
    """`credential:NAME` is a file in $CREDENTIALS_DIRECTORY."""
    text = MINIMAL.replace("/etc/gatewayd/mail.key", "credential:tls-key")

    config = parse(text, environment={"CREDENTIALS_DIRECTORY": "/run/credentials/gatewayd"})

    assert Path("/run/credentials/gatewayd/tls-key") == config.tls.private_key


def test_credential_stays_a_reference_elsewhere() -> None:
    """A file can be checked outside of systemd; only using the credential fails."""
    text = MINIMAL.replace("/etc/gatewayd/mail.key", "credential:tls-key")

    assert Path("credential:tls-key") == parse(text, environment={}).tls.private_key


@pytest.mark.parametrize("name", ["../shadow", "/etc/shadow", "", "a/b", "a\\u0000b"])
def test_credential_name_cannot_leave_the_directory(name: str) -> None:
    """The name of a credential is a name, not a path."""
    text = MINIMAL.replace("/etc/gatewayd/mail.key", f"credential:{name}")

    with pytest.raises(ConfigError, match=r"tls\.private_key"):
        parse(text, environment={"CREDENTIALS_DIRECTORY": "/run/credentials/gatewayd"})


def test_next_hop_has_the_password_of_its_file(tmp_path: Path) -> None:
    """The smarthost's password is read from password_file, and a repr does not show it."""
    file = tmp_path / "password"
    file.write_text("hunter2\n")
    file.chmod(0o600)
    section = SmarthostSection(host="smtp.example.net", user="u", password_file=file)

    hop = next_hop(section, {})

    expected = NextHop(
        host="smtp.example.net",
        port=587,
        tls_mode=TlsMode.STARTTLS_REQUIRED,
        user="u",
        password="hunter2",
    )
    assert expected == hop
    assert "hunter2" not in repr(hop)


def test_next_hop_when_none_is_configured_is_none() -> None:
    """Without a smarthost, mailboxes bring their own."""
    assert next_hop(None, {}) is None


def test_secret_of_systemd_may_have_an_access_list(tmp_path: Path) -> None:
    """Its credentials show mode 0440, and systemd guards them."""
    file = tmp_path / "tls-key"
    file.write_text("s")
    file.chmod(0o440)

    assert secret(file, {"CREDENTIALS_DIRECTORY": str(tmp_path)}) == "s"


def test_check_files_names_each_file_that_cannot_be_used(tmp_path: Path) -> None:
    """All of them in one error; open to others comes before missing."""
    key = tmp_path / "mail.key"
    key.write_text("s")
    key.chmod(0o644)
    text = MINIMAL.replace("/etc/gatewayd", str(tmp_path))

    with pytest.raises(KeyFileError) as caught:
        check_files(parse(text, environment={}), {})

    assert caught.value.exit_code == 77
    assert f"tls.certificate: {tmp_path}/mail.pem: no such file" in str(caught.value)
    assert f"run chmod 600 {key}" in str(caught.value)


def test_check_files_when_all_are_right_is_quiet(tmp_path: Path) -> None:
    """A certificate may be readable by all, its key by its owner."""
    for name, mode in (("mail.pem", 0o644), ("mail.key", 0o600)):
        (tmp_path / name).write_text("s")
        (tmp_path / name).chmod(mode)

    check_files(parse(MINIMAL.replace("/etc/gatewayd", str(tmp_path)), environment={}), {})


@given(st.text(max_size=200))
def test_any_text_is_a_config_or_a_config_error(text: str) -> None:
    """No text of a file ends in another exception."""
    with contextlib.suppress(ConfigError):
        parse(text, environment={})


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
SECTIONS = sorted({name.partition(".")[0] for name in keys()})


@given(st.sampled_from(SECTIONS), VALUES)
def test_any_value_of_a_section_is_a_config_or_a_config_error(section: str, value: object) -> None:
    """Wrong types anywhere are told apart, never crashed on."""
    text = f"{section} = {_inline(value)}\n"

    with contextlib.suppress(ConfigError):
        parse(text, environment={})


def _inline(value: object) -> str:
    """A value as TOML on one line; what TOML cannot say becomes an empty text."""
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case list():
            return "[" + ", ".join(map(_inline, value)) + "]"
        case dict():
            return "{" + ", ".join(f"{_inline(k)} = {_inline(v)}" for k, v in value.items()) + "}"
        case _:
            safe = "".join(c for c in str(value or "") if c.isprintable() and c not in '"\\')
            return f'"{safe}"'
