--------------------------- MODULE ebawa_classic ---------------------------
(* The published protocol as it can be reconstructed: see docs/ebawa-classic.md for what is known and what is not, and  *)
(* crates/sim/tests/ebawa_classic for the same in Rust. Its two faults are what TLC finds here.                        *)
(*                                                                                                                   *)
(* All that a replica ever says is its stream; the place of a message in it is the number that its trusted counter     *)
(* gave. Others take the messages of a stream in order, none left out.                                               *)
EXTENDS Naturals, FiniteSets, Sequences, TLC

CONSTANTS
    Faulty,        \* The replica that was taken over, but for its counter, in a set; or nobody.
    Views,         \* Views are 0..Views-1; each has one agreement.
    Listed,        \* Who is on everybody's blacklist as it begins, in a set: at most f = 1.
    Blacklist,     \* "local": whom a replica blames; "fixed": as it begins, the control.
    Every,         \* Executed batches between checkpoints; 0 for none.
    Transfer,      \* Whether a replica may take over the state of a stable checkpoint.
    Order,         \* "sequential", or "as it comes": the control.
    Impatient      \* Whether timers may run out.

Replicas == 0..2
Correct == Replicas \ Faulty
Quorum == 2
Max(S) == CHOOSE x \in S : \A y \in S : x >= y
ToSet(s) == {s[i] : i \in 1..Len(s)}

(* A batch is named by a letter: r0, r1 and r2 make A, B and C for view 0, and so on. *)
Batch(r, v) == <<"A", "B", "C", "D", "E", "F", "G", "H", "I">>[3 * v + r + 1]

(* --algorithm ebawa_classic
variables
    stream = [r \in Replicas |-> <<>>],
    \* Messages below this place are dropped by their sender, and copies under way are lost.
    kept = [r \in Replicas |-> 1],
    \* Numbers of the messages of each other one that a replica has taken.
    heard = [r \in Replicas |-> [q \in Replicas |-> {}]],
    view = [r \in Replicas |-> 0],
    \* "ready" takes any proposal, "merging" none, "merged" one that tells what came of the merge.
    standing = [r \in Replicas |-> "ready"],
    listed = [r \in Replicas |-> Listed],
    executed = [r \in Replicas |-> <<>>],
    stable = [r \in Replicas |-> 0],
    \* What happened last, in words; no part of what is distinguished.
    step = <<>>;

define
    Primary(r, v) ==
        LET turn == CHOOSE k \in 0..2 : (v + k) % 3 \notin listed[r] /\ \A j \in 0..(k - 1) : (v + j) % 3 \in listed[r]
        IN  (v + turn) % 3

    Knows(r, q, i) == IF r = q THEN TRUE ELSE i \in heard[r][q]
    \* Places of what `r` knows that `q` said before it gave `v` up: what it says of that view later does not count.
    Early(r, q, v) ==
        {i \in 1..Len(stream[q]) : Knows(r, q, i) /\
            \A j \in 1..(i - 1) : ~(Knows(r, q, j) /\ stream[q][j].kind = "merge" /\ stream[q][j].view = v)}
    Said(r, q, kind, v) == {i \in Early(r, q, v) : stream[q][i].kind = kind /\ stream[q][i].view = v}
    GaveUp(r, v) == {q \in Replicas : \E i \in 1..Len(stream[q]) : Knows(r, q, i) /\ stream[q][i].kind = "merge"
                                                                  /\ stream[q][i].view = v}
    Has(r, kind, v) == \E i \in 1..Len(stream[r]) : stream[r][i].kind = kind /\ stream[r][i].view = v

    \* The proposal that `r` takes in its view, in a set: the first of its primary, which the counter makes the only one.
    Proposal(r) ==
        LET p == Primary(r, view[r])
            all == Said(r, p, "prepare", view[r])
            first == {i \in all : \A j \in all : i <= j}
            takes(m) == standing[r] = "ready" \/ (standing[r] = "merged" /\ m.merges)
        IN  {m \in {stream[p][i] : i \in first} : takes(m)}
    Commits(r, m) == {q \in Replicas : q = m.of \/ \E i \in Said(r, q, "commit", m.view) :
                                            stream[q][i].of = m.of /\ stream[q][i].batches = m.batches}

    \* What a replica signed for: the counter leaves no way to hide some of it.
    Signed(r) == {[view |-> m.view, batches |-> m.batches] :
                    m \in {n \in ToSet(stream[r]) : n.kind \in {"prepare", "commit"}}}
    Merge(r, v) == [kind |-> "merge", view |-> v, signed |-> Signed(r)]
    Fresh(before, more) == SelectSeq(more, LAMBDA b : b \notin ToSet(before))
    RECURSIVE InOrder(_)
    InOrder(all) ==
        IF all = {} THEN <<>>
        ELSE LET first == CHOOSE p \in all : \A q \in all : p.view <= q.view
                 rest == InOrder(all \ {first})
             IN  first.batches \o Fresh(first.batches, rest)
    MergeOf(q, v) == CHOOSE m \in ToSet(stream[q]) : m.kind = "merge" /\ m.view = v
    Merged(r, v, signed) ==
        [kind |-> "prepare", view |-> v + 1, of |-> r, merges |-> TRUE,
         batches |-> InOrder(signed) \o <<Batch(r, v + 1)>>]
    Prepare(r, v) == [kind |-> "prepare", view |-> v, of |-> r, merges |-> FALSE, batches |-> <<Batch(r, v)>>]

    Least(S) == CHOOSE x \in S : \A y \in S : x <= y
    InReach(r, q) ==
        LET there == {i \in 1..Len(stream[q]) : i >= kept[q] /\ i \notin heard[r][q]}
            useful(m) == IF m.kind = "checkpoint" THEN m.view > stable[r] ELSE m.view >= view[r]
        IN  IF Order = "sequential" THEN {i \in there : i = Cardinality(heard[r][q]) + 1}
            ELSE {i \in there : useful(stream[q][i])}
    \* How far a stream may be dropped: to the sender's own checkpoint that became stable.
    MayDrop(r) ==
        LET all == {i \in 1..Len(stream[r]) : stream[r][i].kind = "checkpoint" /\ stream[r][i].view = stable[r]}
        IN  IF all = {} THEN 1 ELSE Least(all)

    \* What a replica has to do by itself comes before what others do.
    Owes(r) ==
        view[r] < Views /\
        \/ standing[r] = "ready" /\ Primary(r, view[r]) = r /\ ~Has(r, "prepare", view[r])
        \/ \E m \in Proposal(r) : (m.of # r /\ r \notin Commits(r, m) \ {m.of}) \/ Cardinality(Commits(r, m)) >= Quorum
        \/ Cardinality(GaveUp(r, view[r])) >= Quorum
    Busy == \E r \in Correct : Owes(r)

    Agree == \A r, q \in Correct : \A i \in 1..Len(executed[r]) : i <= Len(executed[q]) => executed[r][i] = executed[q][i]
    Everything == \A r \in Correct : Len(executed[r]) >= Views
end define;

macro Say(r, m) begin
    stream[r] := Append(stream[r], m);
end macro;

fair process Replica \in Correct
begin Act:
  while TRUE do
    if Owes(self) then
        if standing[self] = "ready" /\ Primary(self, view[self]) = self /\ ~Has(self, "prepare", view[self]) then
            Say(self, Prepare(self, view[self]));
            step := <<"r", self, "says: PREPARE of view", view[self], "with", <<Batch(self, view[self])>>>>;
        elsif \E m \in Proposal(self) : m.of # self /\ self \notin Commits(self, m) then
            with m \in Proposal(self) do
                Say(self, [kind |-> "commit", view |-> m.view, of |-> m.of, batches |-> m.batches]);
                step := <<"r", self, "says: COMMIT in view", m.view, "to r", m.of, "with", m.batches>>;
            end with;
        elsif \E m \in Proposal(self) : Cardinality(Commits(self, m)) >= Quorum then
            with m \in Proposal(self),
                 all = executed[self] \o Fresh(executed[self], m.batches) do
                executed[self] := all;
                view[self] := view[self] + 1;
                standing[self] := "ready";
                if Every > 0 /\ Len(all) % Every = 0 then
                    Say(self, [kind |-> "checkpoint", view |-> Len(all)]);
                end if;
                step := <<"r", self, "accepts", m.batches, ", has executed", all, "and is in view", view[self]>>;
            end with;
        else
            with v = view[self], gave = IF standing[self] = "merging" THEN <<>> ELSE <<Merge(self, v)>>,
                 blamed = IF Blacklist = "local" THEN {Primary(self, v)} ELSE listed[self],
                 turn = CHOOSE k \in 0..2 : (v + 1 + k) % 3 \notin blamed /\ \A j \in 0..(k - 1) : (v + 1 + j) % 3 \in blamed,
                 mine = (v + 1 + turn) % 3 = self /\ v + 1 < Views,
                 told = UNION {(IF q = self /\ gave # <<>> THEN gave[1] ELSE MergeOf(q, v)).signed : q \in GaveUp(self, v)} do
                listed[self] := blamed;
                view[self] := v + 1;
                standing[self] := "merged";
                stream[self] := (stream[self] \o gave) \o (IF mine THEN <<Merged(self, v, told)>> ELSE <<>>);
                step := <<"r", self, "joins the merge of view", v, "and puts on its blacklist r", blamed>>;
            end with;
        end if;
    else
        await ~Busy;
        either
            with q \in Replicas \ {self}, i \in InReach(self, q) do
                    heard[self][q] := heard[self][q] \union {i};
                stable[self] :=
                    LET m == stream[q][i]
                        other == {j \in 1..Len(stream[self]) : stream[self][j].kind = "checkpoint" /\ stream[self][j].view = m.view}
                    IN  IF m.kind = "checkpoint" /\ other # {} /\ m.view > stable[self] THEN m.view ELSE stable[self];
                step := <<"r", self, "takes message", i, "of r", q, ":", stream[q][i].kind, stream[q][i].view>>;
            end with;
        or
            \* In the last view of the bounds nothing would come of it.
            await Impatient /\ standing[self] # "merging" /\ view[self] < Views - 1;
            Say(self, Merge(self, view[self]));
            standing[self] := "merging";
            step := <<"r", self, "loses patience with view", view[self], "and says: MERGE">>;
        or
            await MayDrop(self) > kept[self];
            kept[self] := MayDrop(self);
            step := <<"r", self, "has a stable checkpoint and drops its messages before number", MayDrop(self)>>;
        or
            with q \in Replicas \ {self} do
                await Transfer /\ stable[q] > Len(executed[self]);
                executed[self] := SubSeq(executed[q], 1, stable[q]);
                view[self] := stable[q];
                stable[self] := stable[q];
                step := <<"r", self, "takes the state of r", q, "after", stable[q]>>;
            end with;
        end either;
    end if;
  end while;
end process;

fair process Liar \in Faulty
begin Lie:
  while TRUE do
    await ~Busy;
    either \* As primary of a view, for whoever takes it for that.
        with v \in 0..(Views - 1) do
            await \E r \in Correct : Primary(r, v) = self;
            await \A i \in 1..Len(stream[self]) : stream[self][i] # Prepare(self, v);
            Say(self, Prepare(self, v));
            step := <<"r", self, "(faulty) says: PREPARE of view", v, "with", <<Batch(self, v)>>>>;
        end with;
    or \* As primary after a merge.
        with v \in 0..(Views - 2), q \in Replicas, p \in Replicas do
            await q < p /\ Has(q, "merge", v) /\ Has(p, "merge", v);
            await \E r \in Correct : Primary(r, v + 1) = self;
            await \A m \in ToSet(stream[self]) : ~(m.kind = "prepare" /\ m.view = v + 1 /\ m.merges);
            Say(self, Merged(self, v, MergeOf(q, v).signed \union MergeOf(p, v).signed));
            step := <<"r", self, "(faulty) says: PREPARE-MERGE of view", v + 1>>;
        end with;
    or \* To any proposal.
        with r \in Correct, m \in {n \in ToSet(stream[r]) : n.kind = "prepare"} do
            await [kind |-> "commit", view |-> m.view, of |-> m.of, batches |-> m.batches] \notin ToSet(stream[self]);
            Say(self, [kind |-> "commit", view |-> m.view, of |-> m.of, batches |-> m.batches]);
            step := <<"r", self, "(faulty) says: COMMIT in view", m.view, "to r", m.of, "with", m.batches>>;
        end with;
    or
        with v \in 0..(Views - 2) do
            await ~Has(self, "merge", v);
            Say(self, Merge(self, v));
            step := <<"r", self, "(faulty) says: MERGE of view", v>>;
        end with;
    end either;
  end while;
end process;
end algorithm *)
\* BEGIN TRANSLATION - the hash of the PCal code: PCal-d6cb2185621cc9be30da3b3e6c691207
VARIABLES stream, kept, heard, view, standing, listed, executed, stable, step

(* define statement *)
Primary(r, v) ==
    LET turn == CHOOSE k \in 0..2 : (v + k) % 3 \notin listed[r] /\ \A j \in 0..(k - 1) : (v + j) % 3 \in listed[r]
    IN  (v + turn) % 3

Knows(r, q, i) == IF r = q THEN TRUE ELSE i \in heard[r][q]

Early(r, q, v) ==
    {i \in 1..Len(stream[q]) : Knows(r, q, i) /\
        \A j \in 1..(i - 1) : ~(Knows(r, q, j) /\ stream[q][j].kind = "merge" /\ stream[q][j].view = v)}
Said(r, q, kind, v) == {i \in Early(r, q, v) : stream[q][i].kind = kind /\ stream[q][i].view = v}
GaveUp(r, v) == {q \in Replicas : \E i \in 1..Len(stream[q]) : Knows(r, q, i) /\ stream[q][i].kind = "merge"
                                                              /\ stream[q][i].view = v}
Has(r, kind, v) == \E i \in 1..Len(stream[r]) : stream[r][i].kind = kind /\ stream[r][i].view = v


Proposal(r) ==
    LET p == Primary(r, view[r])
        all == Said(r, p, "prepare", view[r])
        first == {i \in all : \A j \in all : i <= j}
        takes(m) == standing[r] = "ready" \/ (standing[r] = "merged" /\ m.merges)
    IN  {m \in {stream[p][i] : i \in first} : takes(m)}
Commits(r, m) == {q \in Replicas : q = m.of \/ \E i \in Said(r, q, "commit", m.view) :
                                        stream[q][i].of = m.of /\ stream[q][i].batches = m.batches}


Signed(r) == {[view |-> m.view, batches |-> m.batches] :
                m \in {n \in ToSet(stream[r]) : n.kind \in {"prepare", "commit"}}}
Merge(r, v) == [kind |-> "merge", view |-> v, signed |-> Signed(r)]
Fresh(before, more) == SelectSeq(more, LAMBDA b : b \notin ToSet(before))
RECURSIVE InOrder(_)
InOrder(all) ==
    IF all = {} THEN <<>>
    ELSE LET first == CHOOSE p \in all : \A q \in all : p.view <= q.view
             rest == InOrder(all \ {first})
         IN  first.batches \o Fresh(first.batches, rest)
MergeOf(q, v) == CHOOSE m \in ToSet(stream[q]) : m.kind = "merge" /\ m.view = v
Merged(r, v, signed) ==
    [kind |-> "prepare", view |-> v + 1, of |-> r, merges |-> TRUE,
     batches |-> InOrder(signed) \o <<Batch(r, v + 1)>>]
Prepare(r, v) == [kind |-> "prepare", view |-> v, of |-> r, merges |-> FALSE, batches |-> <<Batch(r, v)>>]

Least(S) == CHOOSE x \in S : \A y \in S : x <= y
InReach(r, q) ==
    LET there == {i \in 1..Len(stream[q]) : i >= kept[q] /\ i \notin heard[r][q]}
        useful(m) == IF m.kind = "checkpoint" THEN m.view > stable[r] ELSE m.view >= view[r]
    IN  IF Order = "sequential" THEN {i \in there : i = Cardinality(heard[r][q]) + 1}
        ELSE {i \in there : useful(stream[q][i])}

MayDrop(r) ==
    LET all == {i \in 1..Len(stream[r]) : stream[r][i].kind = "checkpoint" /\ stream[r][i].view = stable[r]}
    IN  IF all = {} THEN 1 ELSE Least(all)


Owes(r) ==
    view[r] < Views /\
    \/ standing[r] = "ready" /\ Primary(r, view[r]) = r /\ ~Has(r, "prepare", view[r])
    \/ \E m \in Proposal(r) : (m.of # r /\ r \notin Commits(r, m) \ {m.of}) \/ Cardinality(Commits(r, m)) >= Quorum
    \/ Cardinality(GaveUp(r, view[r])) >= Quorum
Busy == \E r \in Correct : Owes(r)

Agree == \A r, q \in Correct : \A i \in 1..Len(executed[r]) : i <= Len(executed[q]) => executed[r][i] = executed[q][i]
Everything == \A r \in Correct : Len(executed[r]) >= Views


vars == << stream, kept, heard, view, standing, listed, executed, stable, 
           step >>

ProcSet == (Correct) \cup (Faulty)

Init == (* Global variables *)
        /\ stream = [r \in Replicas |-> <<>>]
        /\ kept = [r \in Replicas |-> 1]
        /\ heard = [r \in Replicas |-> [q \in Replicas |-> {}]]
        /\ view = [r \in Replicas |-> 0]
        /\ standing = [r \in Replicas |-> "ready"]
        /\ listed = [r \in Replicas |-> Listed]
        /\ executed = [r \in Replicas |-> <<>>]
        /\ stable = [r \in Replicas |-> 0]
        /\ step = <<>>

Replica(self) == IF Owes(self)
                    THEN /\ IF standing[self] = "ready" /\ Primary(self, view[self]) = self /\ ~Has(self, "prepare", view[self])
                               THEN /\ stream' = [stream EXCEPT ![self] = Append(stream[self], (Prepare(self, view[self])))]
                                    /\ step' = <<"r", self, "says: PREPARE of view", view[self], "with", <<Batch(self, view[self])>>>>
                                    /\ UNCHANGED << view, standing, listed, 
                                                    executed >>
                               ELSE /\ IF \E m \in Proposal(self) : m.of # self /\ self \notin Commits(self, m)
                                          THEN /\ \E m \in Proposal(self):
                                                    /\ stream' = [stream EXCEPT ![self] = Append(stream[self], ([kind |-> "commit", view |-> m.view, of |-> m.of, batches |-> m.batches]))]
                                                    /\ step' = <<"r", self, "says: COMMIT in view", m.view, "to r", m.of, "with", m.batches>>
                                               /\ UNCHANGED << view, 
                                                               standing, 
                                                               listed, 
                                                               executed >>
                                          ELSE /\ IF \E m \in Proposal(self) : Cardinality(Commits(self, m)) >= Quorum
                                                     THEN /\ \E m \in Proposal(self):
                                                               LET all == executed[self] \o Fresh(executed[self], m.batches) IN
                                                                 /\ executed' = [executed EXCEPT ![self] = all]
                                                                 /\ view' = [view EXCEPT ![self] = view[self] + 1]
                                                                 /\ standing' = [standing EXCEPT ![self] = "ready"]
                                                                 /\ IF Every > 0 /\ Len(all) % Every = 0
                                                                       THEN /\ stream' = [stream EXCEPT ![self] = Append(stream[self], ([kind |-> "checkpoint", view |-> Len(all)]))]
                                                                       ELSE /\ TRUE
                                                                            /\ UNCHANGED stream
                                                                 /\ step' = <<"r", self, "accepts", m.batches, ", has executed", all, "and is in view", view'[self]>>
                                                          /\ UNCHANGED listed
                                                     ELSE /\ LET v == view[self] IN
                                                               LET gave == IF standing[self] = "merging" THEN <<>> ELSE <<Merge(self, v)>> IN
                                                                 LET blamed == IF Blacklist = "local" THEN {Primary(self, v)} ELSE listed[self] IN
                                                                   LET turn == CHOOSE k \in 0..2 : (v + 1 + k) % 3 \notin blamed /\ \A j \in 0..(k - 1) : (v + 1 + j) % 3 \in blamed IN
                                                                     LET mine == (v + 1 + turn) % 3 = self /\ v + 1 < Views IN
                                                                       LET told == UNION {(IF q = self /\ gave # <<>> THEN gave[1] ELSE MergeOf(q, v)).signed : q \in GaveUp(self, v)} IN
                                                                         /\ listed' = [listed EXCEPT ![self] = blamed]
                                                                         /\ view' = [view EXCEPT ![self] = v + 1]
                                                                         /\ standing' = [standing EXCEPT ![self] = "merged"]
                                                                         /\ stream' = [stream EXCEPT ![self] = (stream[self] \o gave) \o (IF mine THEN <<Merged(self, v, told)>> ELSE <<>>)]
                                                                         /\ step' = <<"r", self, "joins the merge of view", v, "and puts on its blacklist r", blamed>>
                                                          /\ UNCHANGED executed
                         /\ UNCHANGED << kept, heard, stable >>
                    ELSE /\ ~Busy
                         /\ \/ /\ \E q \in Replicas \ {self}:
                                    \E i \in InReach(self, q):
                                      /\ heard' = [heard EXCEPT ![self][q] = heard[self][q] \union {i}]
                                      /\ stable' = [stable EXCEPT ![self] = LET m == stream[q][i]
                                                                                other == {j \in 1..Len(stream[self]) : stream[self][j].kind = "checkpoint" /\ stream[self][j].view = m.view}
                                                                            IN  IF m.kind = "checkpoint" /\ other # {} /\ m.view > stable[self] THEN m.view ELSE stable[self]]
                                      /\ step' = <<"r", self, "takes message", i, "of r", q, ":", stream[q][i].kind, stream[q][i].view>>
                               /\ UNCHANGED <<stream, kept, view, standing, executed>>
                            \/ /\ Impatient /\ standing[self] # "merging" /\ view[self] < Views - 1
                               /\ stream' = [stream EXCEPT ![self] = Append(stream[self], (Merge(self, view[self])))]
                               /\ standing' = [standing EXCEPT ![self] = "merging"]
                               /\ step' = <<"r", self, "loses patience with view", view[self], "and says: MERGE">>
                               /\ UNCHANGED <<kept, heard, view, executed, stable>>
                            \/ /\ MayDrop(self) > kept[self]
                               /\ kept' = [kept EXCEPT ![self] = MayDrop(self)]
                               /\ step' = <<"r", self, "has a stable checkpoint and drops its messages before number", MayDrop(self)>>
                               /\ UNCHANGED <<stream, heard, view, standing, executed, stable>>
                            \/ /\ \E q \in Replicas \ {self}:
                                    /\ Transfer /\ stable[q] > Len(executed[self])
                                    /\ executed' = [executed EXCEPT ![self] = SubSeq(executed[q], 1, stable[q])]
                                    /\ view' = [view EXCEPT ![self] = stable[q]]
                                    /\ stable' = [stable EXCEPT ![self] = stable[q]]
                                    /\ step' = <<"r", self, "takes the state of r", q, "after", stable'[q]>>
                               /\ UNCHANGED <<stream, kept, heard, standing>>
                         /\ UNCHANGED listed

Liar(self) == /\ ~Busy
              /\ \/ /\ \E v \in 0..(Views - 1):
                         /\ \E r \in Correct : Primary(r, v) = self
                         /\ \A i \in 1..Len(stream[self]) : stream[self][i] # Prepare(self, v)
                         /\ stream' = [stream EXCEPT ![self] = Append(stream[self], (Prepare(self, v)))]
                         /\ step' = <<"r", self, "(faulty) says: PREPARE of view", v, "with", <<Batch(self, v)>>>>
                 \/ /\ \E v \in 0..(Views - 2):
                         \E q \in Replicas:
                           \E p \in Replicas:
                             /\ q < p /\ Has(q, "merge", v) /\ Has(p, "merge", v)
                             /\ \E r \in Correct : Primary(r, v + 1) = self
                             /\ \A m \in ToSet(stream[self]) : ~(m.kind = "prepare" /\ m.view = v + 1 /\ m.merges)
                             /\ stream' = [stream EXCEPT ![self] = Append(stream[self], (Merged(self, v, MergeOf(q, v).signed \union MergeOf(p, v).signed)))]
                             /\ step' = <<"r", self, "(faulty) says: PREPARE-MERGE of view", v + 1>>
                 \/ /\ \E r \in Correct:
                         \E m \in {n \in ToSet(stream[r]) : n.kind = "prepare"}:
                           /\ [kind |-> "commit", view |-> m.view, of |-> m.of, batches |-> m.batches] \notin ToSet(stream[self])
                           /\ stream' = [stream EXCEPT ![self] = Append(stream[self], ([kind |-> "commit", view |-> m.view, of |-> m.of, batches |-> m.batches]))]
                           /\ step' = <<"r", self, "(faulty) says: COMMIT in view", m.view, "to r", m.of, "with", m.batches>>
                 \/ /\ \E v \in 0..(Views - 2):
                         /\ ~Has(self, "merge", v)
                         /\ stream' = [stream EXCEPT ![self] = Append(stream[self], (Merge(self, v)))]
                         /\ step' = <<"r", self, "(faulty) says: MERGE of view", v>>
              /\ UNCHANGED << kept, heard, view, standing, listed, executed, 
                              stable >>

Next == (\E self \in Correct: Replica(self))
           \/ (\E self \in Faulty: Liar(self))

Spec == /\ Init /\ [][Next]_vars
        /\ \A self \in Correct : WF_vars(Replica(self))
        /\ \A self \in Faulty : WF_vars(Liar(self))

\* END TRANSLATION - the hash of the generated TLA code (remove to silence divergence warnings): TLA-de0b8a0581cb508769d3cb0f19be0b83

(* What is distinguished: everything but the words. *)
Seen == <<stream, kept, heard, view, standing, listed, executed, stable>>

(* Where nothing can happen any more, everybody has executed everything. *)
CaughtUp == ENABLED Next \/ Everything
=============================================================================
