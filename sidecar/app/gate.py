"""The gate, from the operator's choices: carriers, binders, routes, policy."""

from collections.abc import Mapping, Sequence

from sidecar import clock
from sidecar.app.binders import claimants, header_binders, proxy_headers
from sidecar.app.outbound import Outbound
from sidecar.app.providers import Provider
from sidecar.app.state import State
from sidecar.bindings.token import TokenBinder
from sidecar.config.model import Config
from sidecar.config.session_settings import TokenBinder as TokenSettings
from sidecar.config.session_settings import TokenEndpointBinder
from sidecar.core.app_logout import AppPath
from sidecar.core.credentials import Carriers
from sidecar.core.denial import Action, Manner
from sidecar.core.freshness import State as Age
from sidecar.core.paths import compile_pattern
from sidecar.core.profiles import Declared, Place, carriers_of
from sidecar.core.routes import Route, Routes, Rule
from sidecar.core.verdict import Policy
from sidecar.field_names import fold
from sidecar.gate.app_logout import AppLogouts
from sidecar.gate.callbacks import Callbacks
from sidecar.gate.condemn import Condemner
from sidecar.gate.counts import Counts
from sidecar.gate.denials import Denials
from sidecar.gate.enforcement import Enforcement
from sidecar.gate.gate import Gate
from sidecar.gate.identify import Identifier
from sidecar.gate.learn import Teacher
from sidecar.gate.live import LiveStreams
from sidecar.gate.named import NamedSessions
from sidecar.gate.presented import TokenCarrier
from sidecar.gate.second_look import SecondLook
from sidecar.gate.verdicts import Verdicts
from sidecar.gate.vouchers import Vouchers


def build_gate(
    config: Config,
    state: State,
    providers: Mapping[str, Provider],
    counts: Counts,
    live: LiveStreams,
    outbound: Outbound,
) -> Gate:
    """A gate on this state; changes nothing but what `counts` knows of it."""
    session, observes = config.session, config.enforcement.mode == "observe"
    carriers, vouchers = _carriers(config), _vouchers(config, state)
    tokens = [_token_carrier(binder, providers) for binder in session.bind if isinstance(binder, TokenSettings)]
    identifier = _identifier(config, state, carriers, tokens, vouchers)
    enforcer = _enforcement(config, carriers, identifier, tokens, vouchers)
    verdicts = Verdicts(replica=state.replica, freshness=state.freshness, policy=_policy(config, observes=observes))
    condemner = _condemner(config, state, observes=observes)
    denials = Denials(enforcement=enforcer, condemner=condemner, counts=counts, observes=observes)
    counts.bindings = state.directory.count_by_binder
    teacher = Teacher(identifier=identifier, enforcement=enforcer, directory=state.directory)
    second_look = SecondLook(
        identifier=identifier,
        verdicts=verdicts,
        teacher=teacher,
        denials=denials,
        condemner=condemner,
        vouchers=vouchers,
        remember=outbound.remember,
    )
    app_logouts = AppLogouts(
        paths=_app_paths(config),
        identifier=identifier,
        enforcement=enforcer,
        teacher=teacher,
        second_look=second_look,
        verdicts=verdicts,
        publish=state.publisher.publish,
        max_age_s=session.max_age,
        after=outbound.after_app_logout,
        observes=observes,
    )
    return Gate(
        identifier=identifier,
        callbacks=_callbacks(config, state, providers),
        verdicts=verdicts,
        denials=denials,
        second_look=second_look,
        condemner=condemner,
        live=live,
        counts=counts,
        routes=_routes(config),
        app_logouts=app_logouts,
        control_prefix=config.control.prefix.encode(),
        vouchers=vouchers,
    )


def _identifier(
    config: Config, state: State, carriers: Carriers, tokens: Sequence[TokenCarrier], vouchers: Vouchers | None
) -> Identifier:
    return Identifier(
        carriers=carriers,
        tokens=tokens,
        directory=state.directory,
        digester=state.digester,
        cutoff=state.replica.cutoff,
        named_sessions=_named_sessions(config, state),
        vouchers=vouchers,
    )


def _enforcement(
    config: Config,
    carriers: Carriers,
    identifier: Identifier,
    tokens: Sequence[TokenCarrier],
    vouchers: Vouchers | None,
) -> Enforcement:
    rules = config.enforcement
    return Enforcement(
        carriers=carriers,
        identifier=identifier,
        token_cookies=[token.cookie for token in tokens if token.cookie],
        vouchers=vouchers,
        manner=Manner(rules.page.text if rules.page is not None else None, rules.clear_site_data),
    )


def _policy(config: Config, *, observes: bool) -> Policy:
    return Policy(
        deny_unbound=config.session.unbound == "deny",
        fail_open=config.store.on_stale == "fail_open",
        max_age_ms=int(config.session.max_age * 1000),
        observes=observes,
    )


def _condemner(config: Config, state: State, *, observes: bool) -> Condemner:
    return Condemner(
        replica=state.replica,
        directory=state.directory,
        publish=state.publisher.publish,
        max_age_s=config.session.max_age,
        observes=observes,
    )


def _callbacks(config: Config, state: State, providers: Mapping[str, Provider]) -> Callbacks:
    relayed = [binder.callback for binder in config.session.bind if isinstance(binder, TokenEndpointBinder)]
    patterns = map(compile_pattern, relayed)
    return Callbacks(patterns=patterns, logins=state.logins, claimants=claimants(config, providers))


def _app_paths(config: Config) -> list[AppPath]:
    return [
        AppPath(compile_pattern(each.path), frozenset(map(str.encode, each.methods)), frozenset(each.status))
        for each in config.logout.app_paths
    ]


def _named_sessions(config: Config, state: State) -> NamedSessions | None:
    binders = header_binders(config)
    if not binders:
        return None
    return NamedSessions(
        binders,
        directory=state.directory,
        digester=state.digester,
        cutoff=state.replica.cutoff,
        is_fresh=lambda: state.freshness.state(clock.boot()) is Age.FRESH,
    )


def _carriers(config: Config) -> Carriers:
    explicit = [(Declared(Place(each.carrier), each.name), each.profile) for each in config.session.credentials]
    return carriers_of(config.session.profile, explicit)


def _vouchers(config: Config, state: State) -> Vouchers | None:
    """Only where an unknown credential is denied on some path does anybody need one."""
    choices = (config.session.unbound, *(route.unbound for route in config.enforcement.routes))
    if "deny" not in choices:
        return None
    voucher = config.session.voucher
    return Vouchers(
        name=voucher.cookie,
        is_https=(config.public_url or "").startswith("https://"),
        max_age_s=voucher.max_age,
        digester=state.digester,
    )


def _token_carrier(binder: TokenSettings, providers: Mapping[str, Provider]) -> TokenCarrier:
    reader = TokenBinder(
        {issuer: provider.verifier for issuer, provider in providers.items()},
        client_ids={issuer: provider.settings.client_id for issuer, provider in providers.items()},
        audiences=binder.audiences,
        clock=clock.boot,
    )
    cookie = binder.cookie.encode() if binder.cookie else None
    header = binder.header.lower().encode() if binder.header else None
    return TokenCarrier(reader, cookie, header)


def _routes(config: Config) -> Routes:
    default = Rule(Action(config.enforcement.action), config.enforcement.login_url)
    routes = [
        Route(
            compile_pattern(route.path),
            Rule(
                None if route.action == "allow" else Action(route.action),
                route.login_url or config.enforcement.login_url,
                None if route.on_stale is None else route.on_stale == "fail_open",
                None if route.unbound is None else route.unbound == "deny",
                route.path,
            ),
            frozenset(method.encode() for method in route.methods),
        )
        for route in config.enforcement.routes
    ]
    return Routes(routes, default)


def credential_headers(config: Config) -> frozenset[bytes]:
    """The header fields by which the app knows its sessions, folded."""
    names = [binder.header for binder in config.session.bind if isinstance(binder, TokenSettings) and binder.header]
    own = frozenset((*_carriers(config).headers, *(fold(name.lower().encode()) for name in names)))
    return proxy_headers(config) | own
