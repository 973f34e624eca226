"""What follows from a denial, early or late: it is counted, the credentials are condemned, an answer is made."""

from typing import Final

from sidecar.core.routes import Rule
from sidecar.core.verdict import Deny, Identity
from sidecar.gate.condemn import Condemner
from sidecar.gate.counts import Counts
from sidecar.gate.enforcement import Enforcement
from sidecar.gate.judgement import ALLOWED, Judgement, Review
from sidecar.gate.refusal import refusal
from sidecar.http1.request import RequestHead


class Denials:
    """Makes the judgement of a request that is denied, and the review of a response that is withheld."""

    def __init__(
        self, *, enforcement: Enforcement, condemner: Condemner, counts: Counts, observes: bool = False
    ) -> None:
        """`observes`: nothing is denied, only counted."""
        self._enforcement = enforcement
        self._condemner = condemner
        self._counts = counts
        self.observes: Final = observes

    def passes(self, judgement: Judgement, denial: Deny, *, is_late: bool = False) -> bool:
        """Whether this denial is only observed: then it is counted, once for a request, and nothing else follows."""
        if self.observes and judgement.decision == ALLOWED:
            reason = f"late_{denial.reason}" if is_late else denial.reason
            self._counts.observed(reason, judgement.rule)
            judgement.decision = f"would_deny_{reason}"
            self._condemner.denied(judgement.identity, denial)
        return self.observes

    def denied(self, request: RequestHead, identity: Identity, denial: Deny, rule: Rule) -> Judgement:
        """An answer; or none, and the request is stripped of its credentials and may go on if the gate permits it."""
        self._counts.denied(identity, denial.reason, rule)
        self._condemner.denied(identity, denial)
        if self._enforcement.strips(denial, rule, request):
            expired = self._enforcement.expired_cookies(request, denial)
            if self._enforcement.strip(request):
                judgement = Judgement(None, rule)
                judgement.expired_cookies, judgement.decision = expired, denial.reason
                return judgement
        judgement = Judgement(None, rule)
        judgement.decision, judgement.session = denial.reason, identity.first_session()  # both for the access log
        judgement.answer = self._enforcement.answer(denial, rule, request)
        return judgement

    def refused(self, status: int, reason: str, rule: Rule) -> Judgement:
        """Whoever asks: the request itself is wrong, or cannot be taken now."""
        self._counts.decisions[reason] += 1
        judgement = Judgement(None, rule)
        judgement.decision = reason
        judgement.answer = refusal(status, reason)
        return judgement

    def late(self, request: RequestHead, judgement: Judgement, denial: Deny) -> Review:
        """The request was allowed, and its answer must not get out."""
        self._counts.decisions[f"late_{denial.reason}"] += 1
        judgement.decision = f"late_{denial.reason}"
        self._condemner.denied(judgement.identity, denial)
        return Review(answer=self._enforcement.answer(denial, judgement.rule, request))
