"""A model of the protocol of `src/store` (its rules, R1 to R16, are in `src/store/protocol.rs`): processes that share one
rotating refresh token through one record.

It explores every interleaving of 2 or 3 processes with crashes, lost answers, writes that fail before or after they
took effect, claims that lapse (of dead holders, and, where a run says so, of living ones), sign-ins and sign-outs, access
tokens set from outside, a record that is deleted, a store that loses its last write, against five kinds of servers,
and checks the invariants below in every state. Then it takes the rules away one by one and shows which invariant breaks:
a rule that can go without loss doesn't belong to the protocol.

    python3 model.py            every run and every mutation (5 min)
    python3 model.py quick      the small runs and every mutation (18 s); both exit with 1 if a run breaks an
                                      invariant, or if a mutation breaks none
    python3 model.py trace M    the shortest counterexample of mutation M

Invariants (the numbers are used in the output):
  I1  two processes never have an exchange of the same refresh token under way at once
  I2  a refresh token is never presented once its successor is in the record, nor by a process that has its successor
  I3  nobody is signed out unless it can't be avoided: see `excused`
  I4  nobody waits for ever: from each state, with no wait ended by its limit, all demands get an answer, and what is
      unsaved gets saved
  I5  a token in the record is replaced only by one of a later claim, or of a later sign-in
  I6  at rest the record's token is one that the server takes (unless I3 excuses)
  I7  no token of an earlier sign-in comes into the record, and no demand is answered with another sign-in's token
  I8  with `never repeat` no refresh token is presented twice, whatever happens, lapses of living holders included
  I9  nobody refreshes while the record has a token newer than its own: as many exchanges as expiries
  I10 nobody follows the record to a sign-in that its own came after, nor writes one over a sign-in that came after it
I1 holds while no claim lapses under a holder that is still presenting (`stall` allows it), the first half of I2 while none
lapses under a living holder at all (one that can't save lets its claim lapse); the rest holds whatever happens.
"""

import sys
import time

# Servers, by what they do with a refresh token that was exchanged before.
STRICT = "strict"  # revoke the whole family
REFUSE = "refuse"  # refuse it; the family lives
SAME = "same"      # give the same successor again, while that is unused; else as STRICT
FORK = "fork"      # give another successor; both live
LAST = "last"      # give another successor; the one before dies
POLICIES = (STRICT, REFUSE, SAME, FORK, LAST)

# The record: what is shared. `by` is the number of the claim that brought the token, `claims` the highest number given out.
# Without a record its epoch is None. The epochs before an epoch (the record's `was`) never change: the server's part has them.
EPOCH, BY, TOK, CLAIMS, CLAIM, UNKNOWN, ENDED = range(7)
STEP = 10  # between two claims' numbers: room for the `by + 1` of R8
NOTHING = (None, 0, None, 0, None, False, False)
# A process: what it is doing; what its session has; what it read last; the claim it works under; its exchange; ...; its
# unused claim that CL is to replace; the epochs it has left (only for a mutation).
PC, ME, MB, MT, LEFT, VIEW, CL, EX, UNSAVED, REP, OLD, GONE = range(12)
FIELDS = {"me": ME, "mb": MB, "mt": MT, "left": LEFT, "view": VIEW, "cl": CL, "ex": EX, "unsaved": UNSAVED, "rep": REP, "old": OLD,
          "gone": GONE}
# What may still happen.
CRASH, LOSS, STORE, STALL, SIGNS, BACK, DELS, SETS = range(8)


def less(budget, k):
    return budget[:k] + (budget[k] - 1,) + budget[k + 1:]


MUTATIONS = {
    "no claim": "R5: present without having written a claim",
    "blind claim": "R1: a claim is written over whatever is there, not against the version read",
    "no second look": "R3: who has waited presents the refresh token that it read before",
    "look-up is no look": "R3: who finds its claim written doesn't look whether a newer token has come",
    "no adoption": "R3: refresh although the record has a newer token",
    "claim ignored": "R6: a limit of waiting that means `go ahead`",
    "early lapse": "R6/R13: judge a lapse by a clock that may run ahead of the holder's",
    "no mark": "R7: a lapsed claim is taken for `nothing was presented`",
    "unknown forgotten": "R9: a lost answer is released like a plain failure",
    "verdict at once": "R10: `invalid_grant` ends it without a second look",
    "verdict erases": "R10: `invalid_grant` ends whatever the record has by then",
    "strict fence": "R8: a save is refused once a later claim exists",
    "no fence": "R8: a save is written over whatever is there",
    "save clears claims": "R8: a save takes away another's standing claim",
    "same saved again": "R8: a token that the record has already is saved over itself",
    "no gap": "R8: `by + 1` may be the number of a standing claim",
    "unsaved dropped": "R4: a token that can't be saved is thrown away",
    "unsaved not retried": "R4: a token that can't be saved is never written later",
    "unsaved forgotten": "R4: a process with an unsaved token refreshes as if it had none",
    "behind is fine": "R4: a store that lost a write is believed, though the session has a later token",
    "follow back": "R4: a store that lost a sign-in is followed back to the one before",
    "own list": "R4: a process knows only the sign-ins that it has left itself, not the record's",
    "ended for good": "R11: a token that is saved late doesn't clear the end of the grant",
    "no epoch": "R12: a sign-in keeps the epoch",
    "epoch counted": "R12: the epoch is the record's + 1, not a new one",
    "set clears claim": "R12: `set_token` removes a standing claim",
    "set clears unknown": "R12: `set_token` without a refresh token clears `unknown`",
    "set fences": "R12: `set_token` without a refresh token takes a claim's number",
    "constant epoch": "R2: every new record starts at the same epoch",
    "unreadable is empty": "R2: a store that can't be read is taken for an empty one",
    "lost write is a failure": "R1: a claim whose answer was lost is forgotten, not looked up",
    "own claim unknown": "R1: a claim of one's own under which nothing was presented is taken for another's",
}


class Violation(Exception):
    pass


class Run:
    """One configuration, explored whole."""

    def __init__(self, policy, procs=2, demands=2, crash=0, loss=0, store=0, stall=0, signs=0, back=0, dels=0,
                 sets=0, fresh=0, never=False, window=True, mutation=None, liveness=True, limit=4_000_000):
        self.policy, self.n, self.demands = policy, procs, demands
        self.budget = (crash, loss, store, stall, signs, back, dels, sets)
        self.step_of_claims = 1 if mutation == "no gap" else STEP
        self.fresh = fresh  # so many processes start without having known a record
        self.never, self.window, self.m, self.liveness, self.limit = never, window, mutation, liveness, limit

    # --- the server -------------------------------------------------------------------------------------------------
    # srv: tuple of (status, successor or None, family, open?), tuple of living families, and the epochs before each epoch
    def serve(self, srv, x):
        toks, fams, before = srv
        st, succ, fam, window = toks[x]
        if not fams[fam] or st == "dead":
            return srv, ("inv",)
        if st == "live":
            y = len(toks)
            toks = toks[:x] + (("spent", y, fam, True),) + toks[x + 1:] + (("live", None, fam, True),)
            return (toks, fams, before), ("ok", y)
        kill = (toks, fams[:fam] + (False,) + fams[fam + 1:], before)
        if self.policy == STRICT:
            return kill, ("inv",)
        if self.policy == REFUSE:
            return srv, ("inv",)
        if not window:
            return kill, ("inv",)
        if self.policy == SAME:
            return (srv, ("ok", succ)) if toks[succ][0] == "live" else (kill, ("inv",))
        y = len(toks)
        new = list(toks) + [("live", None, fam, True)]
        if self.policy == LAST:
            s = succ
            while s is not None:
                after = new[s][1]
                new[s] = ("dead", after, fam, True)
                s = after
        new[x] = ("spent", y, fam, True)
        return (tuple(new), fams, before), ("ok", y)

    # --- states -----------------------------------------------------------------------------------------------------
    # state: (record, lapsed?, srv, procs, history, budgets)
    # history: (tokens whose successor was in the record, arrived {(proc, token)}, presented once, presented twice,
    #           copy lost?, lapsed under a living holder (numbers of claims whose holder was working, 0: one could not save,
    #           -1: one could not release, -2: the store lost a write),
    #           a request reached the server after a later claim was written?)
    def first(self):
        rec = (0, 0, 0, 0, None, False, False)
        srv = ((("live", None, 0, True),), (True,), (frozenset(),))
        proc = ("idle", 0, 0, 0, self.demands, None, None, None, None, 0, None, frozenset())
        hist = (frozenset(), frozenset(), frozenset(), frozenset(), False, frozenset(), False, None)
        new = ("idle", None, None, None) + proc[LEFT:]
        return (rec, False, srv, (proc,) * (self.n - self.fresh) + (new,) * self.fresh, hist, self.budget)

    def excused(self, hist):
        """When a sign-out can't be avoided."""
        lost, stalled, late, before = hist[4:]
        if self.never:
            return lost or stalled
        stalled = stalled - {-1}
        if self.policy in (SAME, FORK, LAST) and self.window:
            return late and self.policy != FORK or self.policy == LAST and lost and stalled
        if self.policy == REFUSE:
            return lost
        return lost or stalled

    def check(self, s):
        rec, lapsed, srv, procs, hist, budget = s
        toks, fams, _ = srv
        rest = all(p[PC] == "idle" and p[LEFT] == 0 and not p[UNSAVED] for p in procs)
        if rest and rec[TOK] is not None and not self.excused(hist):
            if rec[ENDED]:
                raise Violation("I3: at rest the grant has ended")
            st, _, fam, _ = toks[rec[TOK]]
            if not fams[fam]:
                raise Violation("I3: the server revoked the family")
            lost_mark = -2 in hist[5]
            if st != "live" and not rec[UNKNOWN] and not rec[CLAIM] and not lost_mark:
                raise Violation(f"I6: at rest the record has a {st} token")

    # --- steps ------------------------------------------------------------------------------------------------------
    def steps(self, s):
        rec, lapsed, srv, procs, hist, budget = s
        crash, loss, store, stall, signs, back, dels, sets = budget
        out = []

        def go(label, i=None, p=None, rec=rec, lapsed=lapsed, srv=srv, hist=hist, budget=budget, exit=False):
            if back and rec != s[0]:
                hist = hist[:7] + (s[0],)
            ps = procs if i is None else procs[:i] + (p,) + procs[i + 1:]
            out.append((label, (rec, lapsed, srv, ps, hist, budget), exit))

        def write(old, new):
            """Puts a record in the place of another; checks what every write must keep."""
            if old[EPOCH] is not None and new[EPOCH] in srv[2][old[EPOCH]]:
                raise Violation("I10: a sign-in was written over a later one")
            if new[TOK] != old[TOK] or new[BY] != old[BY]:
                if new[EPOCH] == old[EPOCH] and not new[BY] > old[BY]:
                    raise Violation("I5: a token was replaced by one of an earlier claim")
                if new[TOK] is not None and srv[0][new[TOK]][2] != new[EPOCH]:
                    raise Violation("I7: a token of an earlier sign-in came into the record")
            return new, (lapsed and new[CLAIM] == old[CLAIM])

        # The world: claims lapse, windows close.
        if rec[CLAIM] and not lapsed:
            n, owner = rec[CLAIM]
            h = procs[owner]
            working = h[CL] == (n, owner) and h[PC] in ("present", "flight", "save", "verdict", "wend", "release")
            holds = h[UNSAVED] and h[UNSAVED][0] == n
            if self.m == "early lapse" and working:
                go("clock ahead", lapsed=True)
            elif working:
                if stall:
                    mark = hist[:5] + (hist[5] | {n},) + hist[6:]
                    go("lapse(stalled)", lapsed=True, hist=mark, budget=less(budget, STALL))
            elif holds:
                go("lapse(unsaved)", lapsed=True, hist=hist[:5] + (hist[5] | {0},) + hist[6:])
            elif h[PC] in ("claimq", "claim") and (n, owner) in (h[CL], h[OLD]):
                pass  # it will look, or replace it; nothing was presented
            else:
                go("lapse", lapsed=True)
        if back and hist[7] is not None:
            # A failover that lost the last write: nothing that the record promised holds.
            h = hist[:4] + (True, hist[5] | {-2}, hist[6], None)
            out.append(("the store loses its last write", (hist[7], False, srv, procs, h, less(budget, BACK)), False))
        if dels and rec[EPOCH] is not None:
            go("the record is deleted", rec=NOTHING, lapsed=False, budget=less(budget, DELS))
        if not self.window:
            for x, (st, succ, fam, window) in enumerate(srv[0]):
                if st == "spent" and window:
                    toks = srv[0][:x] + ((st, succ, fam, False),) + srv[0][x + 1:]
                    go(f"window of {x} closes", srv=(toks,) + srv[1:])

        for i, p in enumerate(procs):
            self.step(i, p, s, go, write)
        return out

    def step(self, i, p, s, go, write):
        rec, lapsed, srv, procs, hist, budget = s
        crash, loss, store, stall, signs, back, dels, sets = budget
        pc, me, mb, mt, left, view, cl, ex, unsaved, rep, old, gone = p
        m = self.m
        spent_saved, arrived, once, twice, lost, stalled, late, before = hist
        less_store = less(budget, STORE)

        def be(pc, **k):
            q = list(p)
            q[PC] = pc
            for name, value in k.items():
                q[FIELDS[name]] = value
            if m == "own list" and me is not None and q[ME] != me:
                q[GONE] = gone | {me}
            return tuple(q)

        def rest(**k):
            return be("idle", **{"view": None, "cl": None, "ex": None, "rep": 0, "old": None, **k})

        def adopt(r, demand=True):
            if r[EPOCH] != me and me is not None and m != "no epoch":
                if r[EPOCH] in srv[2][me] and m != "own list":
                    raise Violation(f"I10: {i} follows the record back to an earlier sign-in")
                by = None if r[EPOCH] is None else r[BY]  # without a record it forgets its epoch: whatever comes is another sign-in
                return rest(me=r[EPOCH], mb=by, mt=r[TOK], unsaved=None)  # the demand is told "signed out meanwhile"
            if demand and me is not None and r[TOK] is not None and srv[0][r[TOK]][2] != srv[0][mt][2] if mt is not None else False:
                raise Violation("I7: a demand was answered with another sign-in's token")
            return rest(me=r[EPOCH], mb=r[BY], mt=r[TOK], unsaved=None)

        def went_back(r):
            """The record is at a sign-in that this process' own came after."""
            return me is not None and m != "follow back" and r[EPOCH] in (gone if m == "own list" else srv[2][me])

        def again(r, by, tok):
            """This process' state, written over such a record."""
            return write(r, (me, by, tok, max(r[CLAIMS], by), None, False, False))[0]

        # A crash: memory is gone, an answer with it; the process starts anew.
        if crash and (pc != "idle" or unsaved):
            had = unsaved is not None or (ex and ex[0] == "ok")
            h = (spent_saved, frozenset(a for a in arrived if a[0] != i), once, twice, lost or bool(had), stalled, late, before)
            go(f"{i} crashes in {pc}", i, ("idle", None, None, None, left, None, None, None, None, 0, None, frozenset()), hist=h,
               budget=less(budget, CRASH))

        if pc == "idle":
            if unsaved and m != "unsaved not retried":
                if m != "unsaved forgotten":
                    go(f"{i} saves again", i, be("saveload"))
            if left and (not unsaved or m in ("unsaved forgotten", "unsaved not retried")):
                go(f"{i} needs a token", i, be("look", left=left - 1))
            elif left and unsaved and m != "unsaved forgotten":
                go(f"{i} fails: unsaved", i, be("idle", left=left - 1), exit=True)
            if signs and not unsaved:
                go(f"{i} signs in", i, be("sign", view=("in", None)), budget=less(budget, SIGNS))
                go(f"{i} signs out", i, be("sign", view=("out", None)), budget=less(budget, SIGNS))
            if sets and mt is not None and not unsaved:
                go(f"{i} sets an access token", i, be("set"), budget=less(budget, SETS))
            return

        if pc == "set":
            # An access token without a refresh token: the record keeps its own.
            r = rec
            if r[EPOCH] != me and went_back(r):
                go(f"{i} writes its sign-in again", i, be("set"), rec=again(r, mb, mt), lapsed=False)
            elif r[EPOCH] != me or r[TOK] is None:
                go(f"{i} can't set: another sign-in", i, adopt(r))
            elif view != r:
                go(f"{i} reads to set", i, be("set", view=r))
            else:
                n = r[CLAIMS] + self.step_of_claims if m == "set fences" else r[BY] + 1
                claim = None if m == "set clears claim" else r[CLAIM]
                w, l = write(r, (me, n, r[TOK], max(r[CLAIMS], n), claim, r[UNKNOWN] and m != "set clears unknown", False))
                go(f"{i} sets an access token: written", i, rest(mb=n, mt=r[TOK]), rec=w, lapsed=l)
            return

        if pc == "sign":
            what, seen = view
            if seen is None:
                go(f"{i} reads to sign {what}", i, be("sign", view=(what, rec)))
            elif rec != seen:
                go(f"{i} reads anew", i, be("sign", view=(what, rec)))
            else:
                n = rec[CLAIMS] + self.step_of_claims
                epoch = len(srv[1])  # a number never used before; also that of its family, so that I7 can tell them apart
                earlier = frozenset() if rec[EPOCH] is None else srv[2][rec[EPOCH]] | {rec[EPOCH]}
                if rec[EPOCH] is not None and me is not None:
                    earlier |= srv[2][me] | {me}
                tok = len(srv[0]) if what == "in" else None
                new_tok = (("live", None, epoch, True),) if what == "in" else ()
                srv2 = (srv[0] + new_tok, srv[1] + (True,), srv[2] + (earlier,))
                if m == "no epoch" and rec[EPOCH] is not None:
                    epoch = rec[EPOCH]
                elif m == "epoch counted" and rec[EPOCH] is not None:
                    epoch = rec[EPOCH] + 1
                elif m == "constant epoch" and rec[EPOCH] is None:
                    epoch = 0
                new = (epoch, n, tok, n, None, False, False)
                go(f"{i} signs {what}: written", i, rest(me=epoch, mb=n, mt=tok, unsaved=None), rec=new, lapsed=False, srv=srv2)
            return

        if pc in ("look", "claimq", "saveload", "verdict", "release") and store:
            # The store can't be read.
            h = hist
            if pc == "look":
                if m == "unreadable is empty" and mt is not None:
                    go(f"{i} can't read: goes ahead", i, be("present", cl=(-1 - i, i), view=rec), budget=less_store)
                else:
                    go(f"{i} can't read", i, rest(), budget=less_store, exit=True)
            elif pc == "claimq":
                go(f"{i} can't read", i, be("idle", view=None, ex=None, rep=0), budget=less_store, exit=True)  # remembers its claims
            elif pc == "saveload":
                go(f"{i} can't save", i, self.keep(i, p, be, rest), budget=less_store)
            else:
                h = hist[:5] + (stalled | {-1}, late, before)  # its claim stands until it lapses, and is then taken for unknown
                go(f"{i} can't release its claim", i, rest(), hist=h, budget=less_store, exit=True)

        if pc == "look":
            r = rec
            own = r[CLAIM] is not None and r[CLAIM] in (cl, old) and m != "own claim unknown"
            if me is not None and r[EPOCH] != me and went_back(r):
                go(f"{i} writes its sign-in again", i, be("look", view=None, cl=None, old=None), rec=again(r, mb, mt), lapsed=False)
                if store:
                    go(f"{i} can't write its sign-in again", i, rest(), budget=less_store, exit=True)
                return
            if me is not None and r[EPOCH] != me:
                go(f"{i} finds another sign-in", i, adopt(r))
                return
            if r[TOK] is None:
                go(f"{i} finds nobody signed in", i, rest(me=r[EPOCH], mb=None if r[EPOCH] is None else r[BY], mt=None))
                return
            if mb is None:
                go(f"{i} takes the stored token", i, adopt(r))
            elif r[BY] > mb and m != "no adoption":
                if own:
                    w, l = write(r, r[:CLAIM] + (None,) + r[UNKNOWN:])
                    go(f"{i} adopts, removes its unused claim", i, adopt(r), rec=w, lapsed=l)
                    if store:
                        go(f"{i} adopts, can't remove its unused claim", i, adopt(r)[:CL] + (r[CLAIM],) + adopt(r)[EX:], budget=less_store)
                else:
                    go(f"{i} adopts", i, adopt(r))
                return
            elif mb is not None and r[BY] < mb and m != "behind is fine":
                go(f"{i} is ahead of the record", i, be("saveload", unsaved=(mb, me, mt, r[TOK]), view=None, cl=None, old=None))
                return
            if r[ENDED]:
                go(f"{i} finds it ended", i, rest(me=r[EPOCH], mb=r[BY], mt=r[TOK]))
                return
            if own and not lapsed:
                go(f"{i} finds its own unused claim", i, be("present", view=r, cl=r[CLAIM], old=None))
                go(f"{i} finds its own unused claim, with little time left", i, be("claim", view=r))
                return
            if r[CLAIM] and not lapsed:
                go(f"{i} waits for claim {r[CLAIM][0]}", i, be("wait", view=r))
                return
            unknown = (r[CLAIM] is not None and not own and m != "no mark") or r[UNKNOWN]
            if unknown and self.never:
                if r[CLAIM] is not None and r[CLAIM] in (cl, old):
                    raise Violation(f"I3: {i} gives up because of its own claim, under which it presented nothing")
                if r[TOK] not in once and crash == self.budget[0] and store + 1 >= self.budget[2] and not stalled:
                    raise Violation(f"I3: {i} gives up though nothing was presented")
                go(f"{i} gives up: unknown outcome", i, rest(me=r[EPOCH], mb=r[BY], mt=r[TOK]))
                return
            if m == "no claim":
                go(f"{i} goes ahead without a claim", i, be("present", view=r, cl=(r[CLAIMS] + self.step_of_claims, i)))
                return
            go(f"{i} is free to claim", i, be("claim", view=r))
            return

        if pc == "wait":
            if rec != view or lapsed:
                if m == "no second look" and not rec[CLAIM] and rec[TOK] is not None:
                    go(f"{i} has waited, and claims", i, be("claim", view=rec))
                    return
                go(f"{i} looks again", i, be("look", view=None))
            elif m == "claim ignored":
                go(f"{i} waited long enough and goes ahead", i, be("present", cl=(rec[CLAIMS] + self.step_of_claims, i), view=rec))
            return

        if pc == "claim":
            r = view
            n = r[CLAIMS] + self.step_of_claims
            if mb is not None and r[BY] > mb and m != "no second look":
                raise Violation(f"I9: {i} refreshes though the record has a newer token")
            unused = r[CLAIM] if r[CLAIM] in (cl, old) else None
            left_over = r[CLAIM] is not None and not unused and m != "no mark"
            new = r[:CLAIMS] + (n, (n, i), r[UNKNOWN] or left_over, r[ENDED])
            mine = be("present", view=new, cl=(n, i), old=None)
            if rec == r or m == "blind claim":
                w, l = write(r, new)
                go(f"{i} claims {n}", i, mine, rec=w, lapsed=False)
                if store:
                    nxt = be("claimq", view=r, cl=(n, i), old=unused) if m != "lost write is a failure" else rest()
                    go(f"{i} claims {n}, answer lost", i, nxt, rec=w, lapsed=False, budget=less_store)
                    go(f"{i} claims {n}, not written", i, nxt, budget=less_store)
            else:
                go(f"{i} comes second", i, be("look", view=None))
            return

        if pc == "claimq":
            if rec[CLAIM] == cl:
                if mb is not None and rec[BY] > mb and m != "look-up is no look":
                    go(f"{i} finds its claim written, and a newer token", i, be("look", view=None, old=None))
                    return
                go(f"{i} finds its claim written", i, be("present", view=rec, old=None))
                go(f"{i} finds its claim written, with little time left", i, be("claim", view=rec, old=None))
            elif rec == view:
                go(f"{i} finds its claim not written", i, be("claim", cl=old, old=None))
            else:
                go(f"{i} finds another record", i, be("look", view=None, cl=old, old=None))
            return

        if pc == "present":
            x = mt if m == "no second look" and mt is not None else view[TOK]
            for j, q in enumerate(procs):
                if j != i and q[PC] == "flight" and q[EX][-1] == x and not {q[CL][0], cl[0], -2} & stalled:
                    raise Violation(f"I1: {i} presents {x} while {j} does")
            if not stalled - {-1} and x in spent_saved:
                raise Violation(f"I2: {i} presents {x} though its successor is in the record")
            if (i, x) in arrived:
                raise Violation(f"I2: {i} presents {x} though it has its successor")
            if self.never and x in once:
                raise Violation(f"I8: {x} is presented twice")
            h = (spent_saved, arrived, once | {x}, twice | ({x} if x in once else set()), lost, stalled, late, before)
            go(f"{i} presents {x}", i, be("flight", ex=("req", x)), hist=h)
            return

        if pc == "flight":
            kind, x = ex[0], ex[-1]
            less_loss = less(budget, LOSS)
            if kind == "req":
                srv2, answer = self.serve(srv, x)
                overtaken = rec[CLAIM] != cl and {cl[0], -2} & stalled
                h = hist[:6] + (late or bool(overtaken), before)
                go(f"server answers {i}: {answer}", i, be("flight", ex=answer + (x,)), srv=srv2, hist=h)
                if loss:
                    go(f"{i}'s request is lost", i, be("flight", ex=("tmo", x)), budget=less_loss)
                    h = (spent_saved, arrived, once if x in twice else once - {x}) + hist[3:]
                    go(f"server is busy for {i}", i, be("flight", ex=("trans", x)), hist=h, budget=less_loss)
                return
            if loss and kind in ("ok", "inv"):
                h = hist[:4] + (lost or kind == "ok", stalled, late, before)
                go(f"{i}'s answer is lost", i, be("flight", ex=("tmo", x)), hist=h, budget=less_loss)
            if kind == "ok":
                h = (spent_saved, arrived | {(i, x)}, once, twice, lost, stalled, late, before)
                go(f"{i} has {ex[1]}", i, be("save"), hist=h)
            elif kind == "inv":
                if m == "verdict at once":
                    go(f"{i} is refused", i, be("wend", view=view))
                else:
                    go(f"{i} is refused", i, be("verdict"))
            elif kind == "tmo":
                go(f"{i} has no answer", i, be("release"))
            else:
                go(f"{i} is told to come later", i, be("release"))
            return

        if pc == "save":
            n, y, x = cl[0], ex[1], ex[-1]
            r = view
            new = self.saved(r, n, y, cl)
            if rec == r and not (r[BY] >= n and r[TOK] != x) and not (r[TOK] == y and m != "same saved again"):
                w, l = write(rec, new)
                h = (spent_saved | {x}, arrived, once, twice, lost, stalled, late, before)
                go(f"{i} saves {y}", i, rest(me=r[EPOCH], mb=new[BY], mt=y, unsaved=None), rec=w, lapsed=l, hist=h)
                if store:
                    go(f"{i} saves {y}, answer lost", i, self.keep(i, p, be, rest), rec=w, lapsed=l, hist=h, budget=less_store)
                    go(f"{i} can't save {y}", i, self.keep(i, p, be, rest), budget=less_store)
            else:
                if m == "strict fence" and rec[CLAIM] != cl:
                    go(f"{i} lost its claim, drops {y}", i, adopt(rec, False))
                elif m == "no fence":
                    w, l = write(rec, rec[:BY] + (n, y, max(n, rec[CLAIMS])) + (None, False, False))
                    go(f"{i} writes {y} over it", i, rest(mb=n, mt=y, unsaved=None), rec=w, lapsed=False)
                else:
                    go(f"{i} finds another record", i, be("saveload", unsaved=(n, r[EPOCH], y, x)))
            return

        if pc == "saveload":
            n, epoch, y, x = unsaved if unsaved else (cl[0], view[EPOCH], ex[1], ex[-1])
            r = rec
            if r[EPOCH] != epoch and went_back(r):
                h = (spent_saved | {x}, arrived, once, twice, lost, stalled, late, before)
                go(f"{i} saves {y} with its sign-in", i, rest(me=epoch, mb=n, mt=y, unsaved=None), rec=again(r, n, y), lapsed=False, hist=h)
                if store:
                    go(f"{i} can't save {y} with its sign-in", i, self.keep(i, p, be, rest), budget=less_store)
            elif r[EPOCH] != epoch:
                go(f"{i} finds another sign-in, revokes {y}", i, adopt(r, False))
            elif r[BY] >= n and r[TOK] != x or r[TOK] == y and m != "same saved again":
                # what is there may have been presented since, so `unknown` stays
                w, l = write(r, r[:CLAIM] + (None,) + r[UNKNOWN:]) if r[CLAIM] == (n, i) else (rec, lapsed)
                go(f"{i} finds {'its own' if r[TOK] == y else 'a later'} token saved", i, adopt(r, False), rec=w, lapsed=l)
            elif m == "strict fence" and r[CLAIMS] > n:
                go(f"{i} lost its claim, drops {y}", i, adopt(r, False))
            elif m == "ended for good" and r[ENDED]:
                go(f"{i} finds it ended", i, adopt(r, False))
            else:
                # read and written against the version read; a conflict in between leads here again
                new = self.saved(r, n, y, (n, i))
                w, l = write(r, new)
                h = (spent_saved | {x}, arrived, once, twice, lost, stalled, late, before)
                go(f"{i} saves {y} late", i, rest(me=epoch, mb=new[BY], mt=y, unsaved=None), rec=w, lapsed=l, hist=h)
                if store:
                    go(f"{i} saves {y} late, answer lost", i, self.keep(i, p, be, rest), rec=w, lapsed=l, hist=h, budget=less_store)
            return

        if pc == "verdict":
            x, r = ex[-1], rec
            if me is not None and r[EPOCH] != me and went_back(r):
                go(f"{i} writes its sign-in again", i, be("verdict"), rec=again(r, mb, mt), lapsed=False)
            elif me is not None and r[EPOCH] != me:
                go(f"{i} finds another sign-in", i, adopt(r))
            elif r[TOK] != x and m != "verdict erases":
                go(f"{i} was refused for an old token: adopts", i, adopt(r))
            else:
                go(f"{i} was refused for the stored token", i, be("wend", view=r))
            return

        if pc == "wend":
            r = view
            new = r[:CLAIM] + (None if r[CLAIM] == cl else r[CLAIM], r[UNKNOWN], True)
            if rec == r:
                w, l = write(rec, new)
                go(f"{i} writes: ended", i, rest(me=r[EPOCH], mb=r[BY], mt=r[TOK]), rec=w, lapsed=l)
                if store:
                    go(f"{i} can't write: ended", i, rest(), budget=less_store, exit=True)
            else:
                if m == "verdict at once":
                    go(f"{i} writes: ended, over it", i, rest(), rec=rec[:ENDED] + (True,), lapsed=lapsed)
                else:
                    go(f"{i} looks again", i, be("verdict"))
            return

        if pc == "release":
            unknown = ex[0] == "tmo" and m != "unknown forgotten"
            onward = be("look", view=None, cl=None, ex=None, rep=1) if ex[0] == "tmo" and not rep else rest()
            if rec[CLAIM] == cl:
                new = rec[:CLAIM] + (None, rec[UNKNOWN] or unknown, rec[ENDED])
                w, _ = write(rec, new)
                go(f"{i} releases", i, onward, rec=w, lapsed=False)
            else:
                go(f"{i} finds its claim gone", i, onward)
            return

    def saved(self, r, n, y, cl):
        """The record with a successor in it. (`by + 1`: a store that lost a write gives a number out twice.)"""
        claim = None if r[CLAIM] == cl or self.m == "save clears claims" else r[CLAIM]
        by = max(n, r[BY] + 1)
        return (r[EPOCH], by, y, max(r[CLAIMS], by), claim, False, False)

    def keep(self, i, p, be, rest):
        """The answer is here and isn't saved: it lives on in memory."""
        if p[UNSAVED]:
            n, epoch, y, x = p[UNSAVED]
        else:
            n, epoch, y, x = p[CL][0], p[VIEW][EPOCH], p[EX][1], p[EX][-1]
        if self.m == "unsaved dropped":
            return rest(unsaved=None)
        return rest(me=epoch, mb=n, mt=y, unsaved=(n, epoch, y, x))

    # --- exploring --------------------------------------------------------------------------------------------------
    def explore(self):
        first = self.first()
        seen = {first: 0}
        order, parent, edges = [first], [None], []
        pool = {}
        at = 0
        while at < len(order):
            s = order[at]
            try:
                self.check(s)
                steps = self.steps(s)
            except Violation as e:
                return self.result(order, parent, at, str(e))
            succ = []
            for label, t, exit in steps:
                k = seen.get(t)
                if k is None:
                    t = tuple(pool.setdefault(x, x) if isinstance(x, tuple) else x for x in t)
                    t = t[:3] + (tuple(pool.setdefault(q, q) for q in t[3]),) + t[4:]
                    k = len(order)
                    seen[t] = k
                    order.append(t)
                    parent.append((at, label))
                    if k > self.limit:
                        return self.result(order, parent, None, "LIMIT")
                if not exit:
                    succ.append(k)
            edges.append(succ)
            at += 1
        if self.liveness:
            bad = self.stuck(order, edges)
            if bad is not None:
                return self.result(order, parent, bad, "I4: a demand is never answered, or a token never saved")
        return self.result(order, parent, None, None)

    def stuck(self, order, edges):
        """A state from which all demands can't be answered, though the world does what it may."""
        done = [all(p[PC] == "idle" and p[LEFT] == 0 and not p[UNSAVED] for p in s[3]) for s in order]
        back = [[] for _ in order]
        for k, succ in enumerate(edges):
            for t in succ:
                back[t].append(k)
        todo = [k for k, d in enumerate(done) if d]
        while todo:
            for b in back[todo.pop()]:
                if not done[b]:
                    done[b] = True
                    todo.append(b)
        for k, s in enumerate(order):
            if not done[k]:
                return k
        return None

    def result(self, order, parent, at, why):
        trace = []
        while at is not None and parent[at]:
            at, label = parent[at]
            trace.append(label)
        return why, len(order), trace[::-1]


def name(**k):
    return " ".join(f"{a}={b}" for a, b in k.items())


# The runs that must hold.
def runs(quick):
    for policy in POLICIES:
        for never in (False, True):
            yield dict(policy=policy, procs=2, demands=2, crash=1, never=never)
            yield dict(policy=policy, procs=2, demands=2, loss=1, never=never)
            yield dict(policy=policy, procs=2, demands=1, crash=1, loss=1, store=1, never=never)
            yield dict(policy=policy, procs=2, demands=2, store=2, never=never)
            yield dict(policy=policy, procs=2, demands=2, stall=1, never=never)
            yield dict(policy=policy, procs=2, demands=1, crash=1, signs=1, never=never)
    for policy in POLICIES:
        yield dict(policy=policy, procs=2, demands=2, back=1)
        yield dict(policy=policy, procs=2, demands=1, signs=1, back=1)
        yield dict(policy=policy, procs=2, demands=1, signs=1, dels=1)
        yield dict(policy=policy, procs=2, demands=1, loss=1, sets=1)
        yield dict(policy=policy, procs=2, demands=1, loss=1, sets=1, never=True)
        yield dict(policy=policy, procs=2, demands=1, crash=1, stall=1, sets=1)
    yield dict(policy=STRICT, procs=2, demands=1, crash=1, signs=1, back=1)
    yield dict(policy=SAME, procs=2, demands=2, crash=1, loss=1, window=False)
    yield dict(policy=FORK, procs=2, demands=2, crash=1, loss=1, window=False)
    if quick:
        return
    for policy in POLICIES:
        yield dict(policy=policy, procs=3, demands=1, crash=1)
        yield dict(policy=policy, procs=3, demands=1, loss=1)
        yield dict(policy=policy, procs=3, demands=1, store=1)
        yield dict(policy=policy, procs=3, demands=1, stall=1)
        yield dict(policy=policy, procs=2, demands=2, crash=2, loss=1)
        yield dict(policy=policy, procs=2, demands=1, crash=1, store=2, stall=1)
        yield dict(policy=policy, procs=2, demands=2, crash=1, store=1, signs=1)
        yield dict(policy=policy, procs=2, demands=2, crash=1, signs=1, back=1)
        yield dict(policy=policy, procs=2, demands=2, signs=1, back=1, fresh=1)
        yield dict(policy=policy, procs=2, demands=2, loss=1, store=1)
        yield dict(policy=policy, procs=2, demands=1, loss=1, store=1, signs=1, back=1)
        yield dict(policy=policy, procs=2, demands=1, signs=2, back=1)
        yield dict(policy=policy, procs=2, demands=1, crash=1, store=1, signs=1, dels=1)
        yield dict(policy=policy, procs=2, demands=1, store=3)
        yield dict(policy=policy, procs=2, demands=2, crash=1, loss=1, sets=1)
    yield dict(policy=STRICT, procs=3, demands=2, crash=1)
    yield dict(policy=REFUSE, procs=3, demands=1, crash=1, stall=1)
    yield dict(policy=STRICT, procs=3, demands=1, crash=1, store=1)
    for policy in POLICIES:
        yield dict(policy=policy, procs=3, demands=1, crash=1, loss=1, store=1)
        yield dict(policy=policy, procs=3, demands=1, crash=1, loss=1, stall=1)
        yield dict(policy=policy, procs=2, demands=2, loss=1, store=1, back=1)
    yield dict(policy=SAME, procs=2, demands=2, crash=1, loss=1, store=1)
    yield dict(policy=LAST, procs=3, demands=1, loss=1, store=1, stall=1)
    yield dict(policy=STRICT, procs=3, demands=1, crash=2, store=1, never=True)
    yield dict(policy=FORK, procs=2, demands=2, crash=1, loss=1, store=1, stall=1)
    yield dict(policy=STRICT, procs=2, demands=2, crash=1, loss=1, store=1, back=1)


# Where each mutation is looked for; the first that breaks an invariant is shown.
HUNT = [
    dict(policy=STRICT, procs=2, demands=2),
    dict(policy=STRICT, procs=2, demands=2, crash=1),
    dict(policy=STRICT, procs=2, demands=2, crash=1, never=True),
    dict(policy=STRICT, procs=2, demands=1, loss=1, never=True),
    dict(policy=STRICT, procs=2, demands=2, store=1),
    dict(policy=STRICT, procs=2, demands=2, store=1, never=True),
    dict(policy=STRICT, procs=2, demands=2, store=2),
    dict(policy=STRICT, procs=2, demands=2, store=2, never=True),
    dict(policy=REFUSE, procs=2, demands=2, stall=1),
    dict(policy=FORK, procs=2, demands=2, stall=1),
    dict(policy=LAST, procs=2, demands=2, stall=1),
    dict(policy=REFUSE, procs=3, demands=1, stall=1),
    dict(policy=SAME, procs=3, demands=1, stall=1),
    dict(policy=SAME, procs=3, demands=2, stall=1),
    dict(policy=STRICT, procs=2, demands=1, signs=1),
    dict(policy=STRICT, procs=2, demands=1, crash=1, signs=1),
    dict(policy=STRICT, procs=2, demands=2, back=1),
    dict(policy=STRICT, procs=2, demands=1, signs=1, dels=1),
]
# These need more, or something of their own, and are looked for there first.
WHERE = {
    "save clears claims": dict(policy=LAST, procs=2, demands=2, stall=1),
    "same saved again": dict(policy=SAME, procs=2, demands=2, crash=1, loss=1, store=1),
    "no gap": dict(policy=LAST, procs=2, demands=2, stall=1, sets=1),
    "follow back": dict(policy=STRICT, procs=2, demands=1, signs=1, back=1),
    "own list": dict(policy=STRICT, procs=2, demands=3, signs=1, back=1, fresh=1),
    "epoch counted": dict(policy=STRICT, procs=2, demands=1, signs=2, back=1),
    "set clears claim": dict(policy=STRICT, procs=2, demands=1, sets=1),
    "set clears unknown": dict(policy=STRICT, procs=2, demands=1, loss=1, sets=1, never=True),
    "set fences": dict(policy=LAST, procs=2, demands=1, stall=1, sets=1),
}


def hunt(mutation):
    total = 0
    for k in [WHERE[mutation], *HUNT] if mutation in WHERE else HUNT:
        why, states, trace = Run(mutation=mutation, limit=1_500_000, **k).explore()
        total += states
        if why and why != "LIMIT":
            return k, why, states, trace
    return None, None, total, []


def main():
    if sys.argv[1:2] == ["trace"]:
        k, why, states, trace = hunt(" ".join(sys.argv[2:]))
        print(name(**k) if k else "nothing found", "|", why)
        print("\n".join("  " + t for t in trace))
        return
    quick = sys.argv[1:2] == ["quick"]
    begun, total, bad = time.time(), 0, 0
    for k in runs(quick):
        why, states, trace = Run(**k).explore()
        total += states
        bad += why is not None
        print(f"{'holds' if why is None else why:8} {states:>8} states  {name(**k)}", flush=True)
        if why:
            print("\n".join("         " + t for t in trace), flush=True)
    print(f"{total} states, {bad} runs broken, {time.time() - begun:.0f} s", flush=True)
    for mutation, rule in MUTATIONS.items():
        k, why, states, trace = hunt(mutation)
        bad += k is None
        found = f"{why}  [{len(trace)} steps; {name(**k)}]" if k else f"NOTHING BREAKS ({states} states)"
        print(f"without {mutation!r} ({rule}): {found}", flush=True)
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
