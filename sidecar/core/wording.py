"""What a person is told when a request is denied, in the languages that we speak.

The texts are ours, without markup; whoever shows them escapes them. A reason without a text of its own in some language
would be a KeyError at the import of this module and not in front of a person.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from sidecar.core.verdict import TEMPORARY, Reason

DEFAULT: Final = "en"
_MAX_HEADER: Final = 512  # bytes of Accept-Language that are looked at; browsers send some sixty
_MAX_RANGES: Final = 16


class Wording(NamedTuple):
    """One language."""

    titles: Mapping[Reason, str]
    details: Mapping[Reason, str]
    sign_in: str


def _wording(wait: str, sign_in: str, texts: Mapping[Reason, tuple[str, str] | str]) -> Wording:
    """`wait` is the title of everything temporary, whose text then stands alone."""
    titles, details = {}, {}
    for reason in Reason:
        text = texts[reason]
        titles[reason], details[reason] = (wait, text) if isinstance(text, str) else text
        if isinstance(text, str) != (reason in TEMPORARY):
            raise KeyError(reason)
    return Wording(titles, details, sign_in)


_INVALID_EN = "Your session is not valid"
_UNCHECKED_EN = "It cannot be checked at present whether your session is still valid. You stay signed in."
_INVALID_DE = "Ihre Sitzung ist ungültig"
_UNCHECKED_DE = "Im Moment lässt sich nicht prüfen, ob Ihre Sitzung noch gilt. Sie bleiben angemeldet."
_INVALID_FR = "Votre session n'est pas valide"
_UNCHECKED_FR = "Il est actuellement impossible de vérifier votre session. Vous restez connecté."
_INVALID_ES = "Su sesión no es válida"
_UNCHECKED_ES = "En este momento no se puede comprobar si su sesión sigue siendo válida. Su sesión sigue abierta."

WORDINGS: Final[Mapping[str, Wording]] = {
    "en": _wording(
        "Please try again in a moment",
        "Sign in",
        {
            Reason.REVOKED: (
                "You have been signed out",
                "Your session was ended at the identity provider. Sign in again to go on.",
            ),
            Reason.EXPIRED: (
                "Your session has ended",
                "Your session has reached its maximum age. Sign in again to go on.",
            ),
            Reason.BAD_TOKEN: (
                _INVALID_EN,
                "The session token of this request could not be verified. Sign in again to go on.",
            ),
            Reason.AMBIGUOUS: (
                _INVALID_EN,
                "The cookies of this request cannot be read safely. Sign in again to go on.",
            ),
            Reason.UNTRUSTED: (
                "This request is not allowed",
                "The session was named by somebody who may not name it. Sign in again to go on.",
            ),
            Reason.UNBOUND: ("Please sign in again", "This session is not known here. Sign in again to go on."),
            Reason.STALE: _UNCHECKED_EN,
            Reason.STORE: _UNCHECKED_EN,
            Reason.KEYS: "The identity provider cannot be reached to check your session. You stay signed in.",
            Reason.LOGIN: "Your sign-in could not be recorded. Please sign in again in a moment.",
        },
    ),
    "de": _wording(
        "Bitte versuchen Sie es gleich noch einmal",
        "Anmelden",
        {
            Reason.REVOKED: (
                "Sie wurden abgemeldet",
                "Ihre Sitzung wurde beim Anmeldedienst beendet. Melden Sie sich wieder an, um fortzufahren.",
            ),
            Reason.EXPIRED: (
                "Ihre Sitzung ist abgelaufen",
                "Ihre Sitzung hat ihre Höchstdauer erreicht. Melden Sie sich wieder an, um fortzufahren.",
            ),
            Reason.BAD_TOKEN: (
                _INVALID_DE,
                "Das Sitzungs-Token dieser Anfrage ließ sich nicht prüfen. Melden Sie sich wieder an, um fortzufahren.",
            ),
            Reason.AMBIGUOUS: (
                _INVALID_DE,
                "Die Cookies dieser Anfrage sind nicht sicher lesbar. Melden Sie sich wieder an, um fortzufahren.",
            ),
            Reason.UNTRUSTED: (
                "Diese Anfrage ist nicht erlaubt",
                "Wer die Sitzung genannt hat, darf das nicht. Melden Sie sich wieder an, um fortzufahren.",
            ),
            Reason.UNBOUND: (
                "Bitte melden Sie sich wieder an",
                "Diese Sitzung ist hier nicht bekannt. Melden Sie sich wieder an, um fortzufahren.",
            ),
            Reason.STALE: _UNCHECKED_DE,
            Reason.STORE: _UNCHECKED_DE,
            Reason.KEYS: "Der Anmeldedienst ist nicht erreichbar, um Ihre Sitzung zu prüfen. Sie bleiben angemeldet.",
            Reason.LOGIN: "Ihre Anmeldung ließ sich nicht speichern. Bitte melden Sie sich gleich noch einmal an.",
        },
    ),
    "fr": _wording(
        "Veuillez réessayer dans un instant",
        "Se connecter",
        {
            Reason.REVOKED: (
                "Vous avez été déconnecté",
                "Votre session a été fermée auprès du fournisseur d'identité. Reconnectez-vous pour continuer.",
            ),
            Reason.EXPIRED: (
                "Votre session est terminée",
                "Votre session a atteint sa durée maximale. Reconnectez-vous pour continuer.",
            ),
            Reason.BAD_TOKEN: (
                _INVALID_FR,
                "Le jeton de session de cette requête n'a pas pu être vérifié. Reconnectez-vous pour continuer.",
            ),
            Reason.AMBIGUOUS: (
                _INVALID_FR,
                "Les cookies de cette requête ne peuvent pas être lus de façon sûre. Reconnectez-vous pour continuer.",
            ),
            Reason.UNTRUSTED: (
                "Cette requête n'est pas autorisée",
                "La session a été désignée par quelqu'un qui n'en a pas le droit. Reconnectez-vous pour continuer.",
            ),
            Reason.UNBOUND: (
                "Veuillez vous reconnecter",
                "Cette session n'est pas connue ici. Reconnectez-vous pour continuer.",
            ),
            Reason.STALE: _UNCHECKED_FR,
            Reason.STORE: _UNCHECKED_FR,
            Reason.KEYS: "Le fournisseur d'identité est injoignable pour vérifier votre session. Vous restez connecté.",
            Reason.LOGIN: "Votre connexion n'a pas pu être enregistrée. Veuillez vous reconnecter dans un instant.",
        },
    ),
    "es": _wording(
        "Vuelva a intentarlo en un momento",
        "Iniciar sesión",
        {
            Reason.REVOKED: (
                "Se ha cerrado su sesión",
                "Su sesión se cerró en el proveedor de identidad. Inicie sesión de nuevo para continuar.",
            ),
            Reason.EXPIRED: (
                "Su sesión ha terminado",
                "Su sesión ha alcanzado su duración máxima. Inicie sesión de nuevo para continuar.",
            ),
            Reason.BAD_TOKEN: (
                _INVALID_ES,
                "No se pudo verificar el token de sesión de esta solicitud. Inicie sesión de nuevo para continuar.",
            ),
            Reason.AMBIGUOUS: (
                _INVALID_ES,
                "Las cookies de esta solicitud no se leen de forma segura. Inicie sesión de nuevo para continuar.",
            ),
            Reason.UNTRUSTED: (
                "Esta solicitud no está permitida",
                "La sesión fue indicada por alguien que no puede hacerlo. Inicie sesión de nuevo para continuar.",
            ),
            Reason.UNBOUND: (
                "Inicie sesión de nuevo",
                "Esta sesión no se conoce aquí. Inicie sesión de nuevo para continuar.",
            ),
            Reason.STALE: _UNCHECKED_ES,
            Reason.STORE: _UNCHECKED_ES,
            Reason.KEYS: "El proveedor de identidad no responde para comprobar su sesión. Su sesión sigue abierta.",
            Reason.LOGIN: "No se pudo registrar su inicio de sesión. Inicie sesión de nuevo en un momento.",
        },
    ),
}


def preferred(accept_language: bytes) -> str:
    """The language, among ours, that an Accept-Language asks for first (RFC 9110 section 12.5.4); English else."""
    best, weight = DEFAULT, 0.0
    for item in accept_language[:_MAX_HEADER].lower().split(b",")[:_MAX_RANGES]:
        tag, _, parameter = item.partition(b";")
        language = tag.strip().partition(b"-")[0].decode("latin-1")
        quality = _quality(parameter)
        if language in WORDINGS and quality > weight:
            best, weight = language, quality
    return best


def _quality(parameter: bytes) -> float:
    name, equals, value = parameter.strip().partition(b"=")
    if not equals:
        return 1.0
    value = value.strip()
    if name.strip() != b"q" or not value.replace(b".", b"", 1).isdigit() or len(value) > 5:
        return 0.0  # nothing that a browser sends
    return min(float(value), 1.0)
