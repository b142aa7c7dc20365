------------------------------- MODULE lanes -------------------------------
(* Ordering by lanes, as crates/consensus/src/lanes builds it, for three replicas of which one may fail.              *)
(*                                                                                                                   *)
(*   Propose = the leader's vote -> Endorse = the others' -> f+1 votes decide -> Learn                                *)
(*   Leave = the core's report -> Open = f+1 of them -> Acknowledge -> f+1 of those: Install                          *)
(*                                                                                                                   *)
(* Where it abstracts. What was said is a set that only grows, so the network loses (nobody must look), repeats and   *)
(* reorders. Signatures are not there: who holds a certificate is whoever could collect it. Batches are names, and    *)
(* whoever needs one has it. A vote is for one slot; the code puts several under one signature. Patience may run out  *)
(* at any moment, so wishes for another view are not there. There are no checkpoints, but for `gone`: slots of which  *)
(* nobody repeats votes any more, with a transfer of state in their place. The faulty replica does all that its core  *)
(* signs, whatever a receiver that checks would accept, and acknowledges every beginning.                             *)
EXTENDS Naturals, FiniteSets, Sequences, TLC

CONSTANTS
    Faulty,      \* The replica that was taken over, in a set; or nobody, where machines may only stop.
    Slots,       \* The last slot.
    Views,       \* The last view; the first is 0.
    Alpha,       \* Slots above the decided prefix in which a correct replica votes.
    Schedule,    \* "stable" or "rotating".
    Exclusion,   \* Slots for which whoever held a view up gets no turns, the first time.
    Batches,     \* What a correct replica may propose, view by view: a sequence of sets of names.
    Nil,         \* What stands in a slot that is filled with nothing.
    Lies,        \* What the faulty replica's core is asked to vote for.
    Forgets,     \* Whether decided slots are forgotten once a quorum has them.
    Mistake      \* "none", or what is wrong on purpose, to see that it is found.

Replicas == 0..2
Quorum == 2
Correct == Replicas \ Faulty
Values == UNION {Batches[i] : i \in 1..Len(Batches)} \union {Nil}
Max(S) == CHOOSE x \in S : \A y \in S : x >= y
Min(S) == CHOOSE x \in S : \A y \in S : x <= y
Minus(a, b) == IF a > b THEN a - b ELSE 0

(* How a view begins: up to `decided` all is decided; `whats` stands in the slots after it; `out` gets no turns. *)
First == [view |-> 0, decided |-> 0, whats |-> <<>>, out |-> <<>>]
Bound(b) == b.decided + Len(b.whats)
Names(b, s, x) == s > b.decided /\ s <= Bound(b) /\ b.whats[s - b.decided] = x

PrimaryOf(v) == v % 3
Leader(b, s) ==
    LET turns == {r \in Replicas : \A i \in 1..Len(b.out) : b.out[i].who # r \/ b.out[i].until < s}
        turn == (s + b.view) % Cardinality(turns)
    IN  IF Schedule = "stable" THEN PrimaryOf(b.view)
        ELSE CHOOSE r \in turns : Cardinality({q \in turns : q < r}) = turn

(* What follows for the next view when `who` held this one up. At most f = 1 stays out, the one blamed last. *)
Exclude(before, who, bound) ==
    LET mine == SelectSeq(before, LAMBDA e : e.who = who)
        again == IF mine = <<>> THEN 0 ELSE Min({mine[1].again + 1, 6})
        kept == SelectSeq(before, LAMBDA e : e.who # who /\ e.until > Minus(bound, 2 * Exclusion * 64))
        back == [i \in 1..Len(kept) |-> [kept[i] EXCEPT !.until = Min({bound, kept[i].until})]]
    IN  Append(back, [who |-> who, until |-> bound + Exclusion * 2^again, again |-> again])

RECURSIVE ExcludeAll(_, _, _)
ExcludeAll(before, blamed, bound) ==
    IF blamed = <<>> THEN before ELSE ExcludeAll(Exclude(before, Head(blamed), bound), Tail(blamed), bound)

(* A vote that a core remembers; slot 0 stands for none. *)
NoVote == [slot |-> 0, view |-> 0, what |-> Nil]
NoLanes == [l \in 0..(Alpha - 1) |-> NoVote]

(* --algorithm lanes
variables
    \* Every vote that a core signed.
    votes = {},
    \* The last vote in each lane of each core, the view in which it votes, and the last that it began.
    lanes = [r \in Replicas |-> NoLanes], floor = [r \in Replicas |-> 0], began = [r \in Replicas |-> 0],
    \* The view that a replica is in or on its way to, whether it has begun, and how the last one that did.
    view = [r \in Replicas |-> 0], installed = [r \in Replicas |-> TRUE], begins = [r \in Replicas |-> First],
    \* What a replica has decided, slot by slot, each with the view of its certificate.
    log = [r \in Replicas |-> <<>>],
    \* What replicas said as they left; of the faulty one only what its core reports.
    changes = {}, reports = {},
    \* What follows from the changes that a view's coordinator chose, by the one word of its core.
    opened = [v \in 1..Views |-> {}],
    acks = {},
    gone = 0,
    \* What happened last, in words; no part of what is distinguished.
    step = <<>>;

define
    Decided(r) == Len(log[r])
    Voters(v, s, x) == {r \in Replicas : [by |-> r, view |-> v, slot |-> s, what |-> x] \in votes}
    IsDecided(v, s, x) == Cardinality(Voters(v, s, x)) >= Quorum

    \* Beginnings that f+1 acknowledged: the faulty replica acknowledges all.
    Needed == IF Mistake = "one-word-begins-a-view" THEN 1 ELSE Quorum
    Told(v) == {a.how : a \in {b \in acks : b.how.view = v}}
    Invented(v) ==
        {[view |-> v, decided |-> 0, whats |-> w, out |-> <<>>] : w \in {<<x>> : x \in Lies}}
    Begun(v) ==
        IF v = 0 THEN {First}
        ELSE LET words(b) == Cardinality({a \in acks : a.how = b}) + Cardinality(Faulty)
                 speaks == Needed = 1 /\ \E r \in Faulty : floor[r] >= v
                 all == Told(v) \union (IF speaks THEN Invented(v) ELSE {})
             IN  {b \in all : words(b) >= Needed}

    \* What has the right to be voted for in a slot of a view.
    Rightful(v, s) ==
        LET first(b) == {e.what : e \in {o \in votes : o.view = v /\ o.slot = s /\ o.by = Leader(b, s)}}
        IN  UNION {IF s <= Bound(b) THEN {x \in Values : Names(b, s, x)} ELSE first(b) : b \in Begun(v)}

    \* A lane's core signs a vote only once, and never below what it signed last.
    MayEndorse(r, v, s) ==
        /\ v = floor[r] \/ (Mistake = "core-has-no-floor" /\ v < floor[r] /\ r \in Faulty)
        /\ LET last == lanes[r][s % Alpha]
           IN  \/ s > last.slot
               \/ s = last.slot /\ v > last.view
               \/ Mistake = "core-votes-twice" /\ r \in Faulty
    Reach == IF Mistake = "votes-beyond-the-window" THEN 2 * Alpha ELSE Alpha
    InWindow(r, s) == s > Decided(r) /\ s <= Decided(r) + Reach
    Stands(r, s, x) ==
        IF s <= Bound(begins[r]) THEN Names(begins[r], s, x)
        ELSE Leader(begins[r], s) \in Voters(view[r], s, x)

    \* A view change: what its core reports, up to where the author has decided, and the certificates that show it.
    Open(c) == {c.lanes[l] : l \in 0..(Alpha - 1)} \ {e \in {c.lanes[l] : l \in 0..(Alpha - 1)} : e.slot <= c.decided}
    Proof(r) == {[slot |-> s, view |-> log[r][s].view, what |-> log[r][s].what] :
                    s \in (Minus(Decided(r), Alpha) + 1)..Decided(r)}
    Change(r, to) == [by |-> r, to |-> to, lanes |-> lanes[r], decided |-> Decided(r), commits |-> Proof(r),
                      last |-> begins[r]]
    \* What the faulty replica can make of its core's report. A prefix takes certificates for its last window.
    Proofs(d) ==
        LET from == Minus(d, Alpha)
            here(s) == {[slot |-> s, view |-> v, what |-> x] : v \in 0..Views, x \in Values}
            shown(s) == {e \in here(s) : IsDecided(e.view, e.slot, e.what)}
            ways == [from + 1..d -> UNION {shown(s) : s \in from + 1..d}]
        IN  IF Mistake = "prefix-needs-no-proof" THEN {{}}
            ELSE {{w[s] : s \in from + 1..d} : w \in {u \in ways : \A s \in from + 1..d : u[s].slot = s}}
    MadeUp(v) ==
        UNION {UNION {{[by |-> p.by, to |-> v, lanes |-> p.lanes, decided |-> d, commits |-> c, last |-> l] :
                        c \in Proofs(d), l \in UNION {Begun(w) : w \in 0..(v - 1)}} : d \in 0..Slots} :
               p \in {q \in reports : q.to = v}}
    IsRight(c) ==
        /\ \/ \A e \in Open(c) : e.what \in Rightful(e.view, e.slot)
           \/ Mistake = "votes-need-no-ground"
        \* Who votes in a slot has decided the one a window below.
        /\ \/ \A e \in Open(c) : e.slot <= c.decided + Alpha
           \/ Mistake = "prefix-needs-no-proof"
    Acceptable(v) == {c \in {d \in changes : d.to = v} \union MadeUp(v) : IsRight(c)}

    \* The beginning that follows from a quorum of changes: for each slot the vote of the highest view.
    Claims(cs) == UNION {{[by |-> c.by, slot |-> e.slot, view |-> e.view, what |-> e.what] :
                            e \in c.commits \union Open(c)} : c \in cs}
    Best(claims, s) ==
        LET here == {e \in claims : e.slot = s}
            over(e, o) == IF Mistake = "lower-view-wins" THEN e.view < o.view ELSE e.view > o.view
            wins(e) == \A o \in here : over(e, o) \/ (e.view = o.view /\ e.by <= o.by)
        IN  IF here = {} THEN Nil ELSE (CHOOSE e \in here : wins(e)).what
    Follows(v, cs) ==
        LET decided == Max({Min({c.decided : c \in cs})} \union {Minus(c.decided, Cardinality(c.commits)) : c \in cs})
            claims == {e \in Claims(cs) : e.slot > decided}
            bound == Max({e.slot : e \in claims} \union {decided})
            last == (CHOOSE c \in cs : \A o \in cs : c.last.view >= o.last.view).last
            head == Max({c.decided : c \in cs}) + 1
            voted == {e.slot : e \in Claims(cs)}
            held == IF head <= Bound(last) THEN PrimaryOf(last.view) ELSE Leader(last, head)
            empty == {s \in 1..bound : s > Max({head, Bound(last)}) /\ s \notin voted}
            passed == SelectSeq([s \in 1..bound |-> IF s \in empty THEN Leader(last, s) ELSE 3],
                                LAMBDA r : r # 3 /\ r # held)
            lastly == [i \in 1..Len(passed) |-> IF \E j \in i + 1..Len(passed) : passed[j] = passed[i]
                                                THEN 3 ELSE passed[i]]
            blamed == Append(SelectSeq(lastly, LAMBDA r : r # 3), held)
        IN  [view |-> v, decided |-> decided,
             whats |-> [i \in 1..(bound - decided) |-> Best(claims, decided + i)],
             out |-> IF Schedule = "stable" THEN <<>> ELSE ExcludeAll(last.out, blamed, bound)]

    \* How a replica begins a view: as was acknowledged.
    Taken(r, b) ==
        IF Mistake = "excludes-by-opinion"
        THEN [b EXCEPT !.out = Exclude(<<>>, Leader(begins[r], Decided(r) + 1), Bound(b))]
        ELSE b

    Settled == {e \in votes : IsDecided(e.view, e.slot, e.what)}
    I1 == LET all == Settled IN \A e, o \in all : e.slot = o.slot => e.what = o.what
    I2 == \A v \in 0..Views : \A s \in 1..Slots : Cardinality(Rightful(v, s)) <= 1
    I3 == \A e \in Settled : \A v \in e.view + 1..Views : Rightful(v, e.slot) \subseteq {e.what}
    I4 == \A r \in Correct : \A l \in 0..(Alpha - 1) : lanes[r][l].slot <= Decided(r) + Alpha
    I5 == \A r \in Correct :
            /\ IsRight(Change(r, view[r] + 1))
            /\ \A s \in Decided(r) + 1..Decided(r) + Alpha :
                LET mine == {e \in votes : e.by = r /\ e.slot = s}
                    last == lanes[r][s % Alpha]
                IN  mine # {} => last.slot = s /\ last.view = Max({e.view : e \in mine})
    I6 == \A r, q \in Correct :
            installed[r] /\ installed[q] /\ view[r] = view[q] =>
                \A s \in 1..Slots : s > Bound(begins[r]) => Leader(begins[r], s) = Leader(begins[q], s)
    I7 == \A v \in 0..Views :
            /\ Cardinality(Begun(v)) <= 1
            /\ \A b \in Begun(v) : Cardinality({i \in 1..Len(b.out) : b.out[i].until > Bound(b)}) <= 1
    \* Not in the list of the notes: a view begins above slots that a correct replica has decided.
    Base == \A v \in 1..Views : \A b \in Begun(v) : \E r \in Correct : Decided(r) >= b.decided
    \* Agreement as correct replicas see it.
    Logs == \A r, q \in Correct : \A s \in 1..Min({Decided(r), Decided(q)}) : log[r][s].what = log[q][s].what
end define;

macro Vote(r, s, x, word) begin
    votes := votes \union {[by |-> r, view |-> floor[r], slot |-> s, what |-> x]};
    lanes[r][s % Alpha] := [slot |-> s, view |-> floor[r], what |-> x];
    step := <<"r", r, word, x, "in slot", s, "of view", floor[r]>>;
end macro;

fair process Replica \in Correct
begin Act:
  while TRUE do
    either \* Propose: the leader's vote is the proposal.
        with s \in Decided(self) + 1..Slots, x \in Batches[view[self] + 1] \union {Nil} do
            await installed[self] /\ InWindow(self, s) /\ s > Bound(begins[self]) /\ Leader(begins[self], s) = self;
            await MayEndorse(self, view[self], s);
            \* Nothing is proposed only where somebody is further on.
            await x = Nil => \E e \in votes : e.view = view[self] /\ e.slot > s;
            Vote(self, s, x, "proposes");
        end with;
    or \* Endorse what stands in a slot.
        with s \in Decided(self) + 1..Slots, x \in Values do
            await installed[self] /\ InWindow(self, s) /\ Stands(self, s, x) /\ MayEndorse(self, view[self], s);
            Vote(self, s, x, "votes for");
        end with;
    or \* Learn what is decided next, by any certificate.
        with s \in {Decided(self) + 1} \ 1..gone,
             e \in {[view |-> o.view, what |-> o.what] : o \in {q \in votes : q.slot = s}} do
            await IsDecided(e.view, s, e.what);
            log[self] := Append(log[self], e);
            step := <<"r", self, "learns that slot", s, "is decided:", e.what>>;
        end with;
    or \* Leave for a later view.
        with v \in view[self] + 1..Views do
            view[self] := v;
            installed[self] := FALSE;
            floor[self] := v;
            changes := changes \union {Change(self, v)};
            step := <<"r", self, "leaves for view", v>>;
        end with;
    or \* As coordinator: say from which changes a view begins.
        with v \in {view[self]} \ {0} do
            await ~installed[self] /\ PrimaryOf(v) = self /\ floor[self] = v /\ began[self] < v;
            with c \in Acceptable(v), d \in Acceptable(v) do
                await c.by < d.by;
                opened[v] := {Follows(v, {c, d})};
                began[self] := v;
                step := <<"r", self, "opens view", v, "with what", c.by, "and", d.by, "said">>;
            end with;
        end with;
    or \* Acknowledge what follows.
        with v \in {w \in 1..Views : opened[w] # {} /\ view[self] <= w} do
            await view[self] < v \/ ~installed[self];
            await \A a \in acks : a.by # self \/ a.how.view < v;
            changes := IF view[self] < v THEN changes \union {Change(self, v)} ELSE changes;
            acks := acks \union {[by |-> self, how |-> b] : b \in opened[v]};
            view[self] := v;
            installed[self] := FALSE;
            floor[self] := v;
            step := <<"r", self, "acknowledges", CHOOSE b \in opened[v] : TRUE>>;
        end with;
    or \* Begin a view that f+1 acknowledged.
        with v \in view[self]..Views do
            await v > 0 /\ (view[self] < v \/ ~installed[self]);
            with b \in Begun(v) do
                view[self] := v;
                installed[self] := TRUE;
                floor[self] := v;
                begins[self] := Taken(self, b);
                step := <<"r", self, "begins view", v>>;
            end with;
        end with;
    or \* Nobody repeats what a quorum has decided: a checkpoint stands for it.
        with s \in gone + 1..Decided(self) do
            await Forgets /\ Cardinality({r \in Correct : Decided(r) >= s}) >= Quorum;
            gone := s;
            step := <<"slots up to", s, "are forgotten">>;
        end with;
    or \* Take the state of a checkpoint in place of what is gone.
        with r \in Correct do
            await Decided(self) < gone /\ Decided(r) >= gone /\ Mistake # "no-state-transfer";
            log[self] := SubSeq(log[r], 1, gone);
            step := <<"r", self, "takes the state of slot", gone>>;
        end with;
    end either;
  end while;
end process;

fair process Liar \in Faulty
begin Lie:
  while TRUE do
    either \* Its core votes for anything that it may vote for.
        with s \in 1..Slots, v \in 0..floor[self], x \in Lies do
            await MayEndorse(self, v, s);
            votes := votes \union {[by |-> self, view |-> v, slot |-> s, what |-> x]};
            lanes[self][s % Alpha] := [slot |-> s, view |-> v, what |-> x];
            step := <<"r", self, "(faulty) votes for", x, "in slot", s, "of view", v>>;
        end with;
    or \* Its core leaves, and reports its lanes.
        with v \in floor[self] + 1..Views do
            floor[self] := v;
            reports := reports \union {[by |-> self, to |-> v, lanes |-> lanes[self]]};
            step := <<"r", self, "(faulty) leaves for view", v>>;
        end with;
    or \* As coordinator it chooses the changes.
        with v \in {floor[self]} \ {0} do
            await PrimaryOf(v) = self /\ began[self] < v;
            with c \in Acceptable(v), d \in Acceptable(v) do
                await c.by < d.by;
                opened[v] := {Follows(v, {c, d})};
                began[self] := v;
                step := <<"r", self, "(faulty) opens view", v, "with what", c.by, "and", d.by, "said">>;
            end with;
        end with;
    end either;
  end while;
end process;
end algorithm *)
\* BEGIN TRANSLATION - the hash of the PCal code: PCal-cb9ad3cf673244fc33bebc4676f2124a
VARIABLES votes, lanes, floor, began, view, installed, begins, log, changes, 
          reports, opened, acks, gone, step

(* define statement *)
Decided(r) == Len(log[r])
Voters(v, s, x) == {r \in Replicas : [by |-> r, view |-> v, slot |-> s, what |-> x] \in votes}
IsDecided(v, s, x) == Cardinality(Voters(v, s, x)) >= Quorum


Needed == IF Mistake = "one-word-begins-a-view" THEN 1 ELSE Quorum
Told(v) == {a.how : a \in {b \in acks : b.how.view = v}}
Invented(v) ==
    {[view |-> v, decided |-> 0, whats |-> w, out |-> <<>>] : w \in {<<x>> : x \in Lies}}
Begun(v) ==
    IF v = 0 THEN {First}
    ELSE LET words(b) == Cardinality({a \in acks : a.how = b}) + Cardinality(Faulty)
             speaks == Needed = 1 /\ \E r \in Faulty : floor[r] >= v
             all == Told(v) \union (IF speaks THEN Invented(v) ELSE {})
         IN  {b \in all : words(b) >= Needed}


Rightful(v, s) ==
    LET first(b) == {e.what : e \in {o \in votes : o.view = v /\ o.slot = s /\ o.by = Leader(b, s)}}
    IN  UNION {IF s <= Bound(b) THEN {x \in Values : Names(b, s, x)} ELSE first(b) : b \in Begun(v)}


MayEndorse(r, v, s) ==
    /\ v = floor[r] \/ (Mistake = "core-has-no-floor" /\ v < floor[r] /\ r \in Faulty)
    /\ LET last == lanes[r][s % Alpha]
       IN  \/ s > last.slot
           \/ s = last.slot /\ v > last.view
           \/ Mistake = "core-votes-twice" /\ r \in Faulty
Reach == IF Mistake = "votes-beyond-the-window" THEN 2 * Alpha ELSE Alpha
InWindow(r, s) == s > Decided(r) /\ s <= Decided(r) + Reach
Stands(r, s, x) ==
    IF s <= Bound(begins[r]) THEN Names(begins[r], s, x)
    ELSE Leader(begins[r], s) \in Voters(view[r], s, x)


Open(c) == {c.lanes[l] : l \in 0..(Alpha - 1)} \ {e \in {c.lanes[l] : l \in 0..(Alpha - 1)} : e.slot <= c.decided}
Proof(r) == {[slot |-> s, view |-> log[r][s].view, what |-> log[r][s].what] :
                s \in (Minus(Decided(r), Alpha) + 1)..Decided(r)}
Change(r, to) == [by |-> r, to |-> to, lanes |-> lanes[r], decided |-> Decided(r), commits |-> Proof(r),
                  last |-> begins[r]]

Proofs(d) ==
    LET from == Minus(d, Alpha)
        here(s) == {[slot |-> s, view |-> v, what |-> x] : v \in 0..Views, x \in Values}
        shown(s) == {e \in here(s) : IsDecided(e.view, e.slot, e.what)}
        ways == [from + 1..d -> UNION {shown(s) : s \in from + 1..d}]
    IN  IF Mistake = "prefix-needs-no-proof" THEN {{}}
        ELSE {{w[s] : s \in from + 1..d} : w \in {u \in ways : \A s \in from + 1..d : u[s].slot = s}}
MadeUp(v) ==
    UNION {UNION {{[by |-> p.by, to |-> v, lanes |-> p.lanes, decided |-> d, commits |-> c, last |-> l] :
                    c \in Proofs(d), l \in UNION {Begun(w) : w \in 0..(v - 1)}} : d \in 0..Slots} :
           p \in {q \in reports : q.to = v}}
IsRight(c) ==
    /\ \/ \A e \in Open(c) : e.what \in Rightful(e.view, e.slot)
       \/ Mistake = "votes-need-no-ground"

    /\ \/ \A e \in Open(c) : e.slot <= c.decided + Alpha
       \/ Mistake = "prefix-needs-no-proof"
Acceptable(v) == {c \in {d \in changes : d.to = v} \union MadeUp(v) : IsRight(c)}


Claims(cs) == UNION {{[by |-> c.by, slot |-> e.slot, view |-> e.view, what |-> e.what] :
                        e \in c.commits \union Open(c)} : c \in cs}
Best(claims, s) ==
    LET here == {e \in claims : e.slot = s}
        over(e, o) == IF Mistake = "lower-view-wins" THEN e.view < o.view ELSE e.view > o.view
        wins(e) == \A o \in here : over(e, o) \/ (e.view = o.view /\ e.by <= o.by)
    IN  IF here = {} THEN Nil ELSE (CHOOSE e \in here : wins(e)).what
Follows(v, cs) ==
    LET decided == Max({Min({c.decided : c \in cs})} \union {Minus(c.decided, Cardinality(c.commits)) : c \in cs})
        claims == {e \in Claims(cs) : e.slot > decided}
        bound == Max({e.slot : e \in claims} \union {decided})
        last == (CHOOSE c \in cs : \A o \in cs : c.last.view >= o.last.view).last
        head == Max({c.decided : c \in cs}) + 1
        voted == {e.slot : e \in Claims(cs)}
        held == IF head <= Bound(last) THEN PrimaryOf(last.view) ELSE Leader(last, head)
        empty == {s \in 1..bound : s > Max({head, Bound(last)}) /\ s \notin voted}
        passed == SelectSeq([s \in 1..bound |-> IF s \in empty THEN Leader(last, s) ELSE 3],
                            LAMBDA r : r # 3 /\ r # held)
        lastly == [i \in 1..Len(passed) |-> IF \E j \in i + 1..Len(passed) : passed[j] = passed[i]
                                            THEN 3 ELSE passed[i]]
        blamed == Append(SelectSeq(lastly, LAMBDA r : r # 3), held)
    IN  [view |-> v, decided |-> decided,
         whats |-> [i \in 1..(bound - decided) |-> Best(claims, decided + i)],
         out |-> IF Schedule = "stable" THEN <<>> ELSE ExcludeAll(last.out, blamed, bound)]


Taken(r, b) ==
    IF Mistake = "excludes-by-opinion"
    THEN [b EXCEPT !.out = Exclude(<<>>, Leader(begins[r], Decided(r) + 1), Bound(b))]
    ELSE b

Settled == {e \in votes : IsDecided(e.view, e.slot, e.what)}
I1 == LET all == Settled IN \A e, o \in all : e.slot = o.slot => e.what = o.what
I2 == \A v \in 0..Views : \A s \in 1..Slots : Cardinality(Rightful(v, s)) <= 1
I3 == \A e \in Settled : \A v \in e.view + 1..Views : Rightful(v, e.slot) \subseteq {e.what}
I4 == \A r \in Correct : \A l \in 0..(Alpha - 1) : lanes[r][l].slot <= Decided(r) + Alpha
I5 == \A r \in Correct :
        /\ IsRight(Change(r, view[r] + 1))
        /\ \A s \in Decided(r) + 1..Decided(r) + Alpha :
            LET mine == {e \in votes : e.by = r /\ e.slot = s}
                last == lanes[r][s % Alpha]
            IN  mine # {} => last.slot = s /\ last.view = Max({e.view : e \in mine})
I6 == \A r, q \in Correct :
        installed[r] /\ installed[q] /\ view[r] = view[q] =>
            \A s \in 1..Slots : s > Bound(begins[r]) => Leader(begins[r], s) = Leader(begins[q], s)
I7 == \A v \in 0..Views :
        /\ Cardinality(Begun(v)) <= 1
        /\ \A b \in Begun(v) : Cardinality({i \in 1..Len(b.out) : b.out[i].until > Bound(b)}) <= 1

Base == \A v \in 1..Views : \A b \in Begun(v) : \E r \in Correct : Decided(r) >= b.decided

Logs == \A r, q \in Correct : \A s \in 1..Min({Decided(r), Decided(q)}) : log[r][s].what = log[q][s].what


vars == << votes, lanes, floor, began, view, installed, begins, log, changes, 
           reports, opened, acks, gone, step >>

ProcSet == (Correct) \cup (Faulty)

Init == (* Global variables *)
        /\ votes = {}
        /\ lanes = [r \in Replicas |-> NoLanes]
        /\ floor = [r \in Replicas |-> 0]
        /\ began = [r \in Replicas |-> 0]
        /\ view = [r \in Replicas |-> 0]
        /\ installed = [r \in Replicas |-> TRUE]
        /\ begins = [r \in Replicas |-> First]
        /\ log = [r \in Replicas |-> <<>>]
        /\ changes = {}
        /\ reports = {}
        /\ opened = [v \in 1..Views |-> {}]
        /\ acks = {}
        /\ gone = 0
        /\ step = <<>>

Replica(self) == /\ \/ /\ \E s \in Decided(self) + 1..Slots:
                            \E x \in Batches[view[self] + 1] \union {Nil}:
                              /\ installed[self] /\ InWindow(self, s) /\ s > Bound(begins[self]) /\ Leader(begins[self], s) = self
                              /\ MayEndorse(self, view[self], s)
                              /\ x = Nil => \E e \in votes : e.view = view[self] /\ e.slot > s
                              /\ votes' = (votes \union {[by |-> self, view |-> floor[self], slot |-> s, what |-> x]})
                              /\ lanes' = [lanes EXCEPT ![self][s % Alpha] = [slot |-> s, view |-> floor[self], what |-> x]]
                              /\ step' = <<"r", self, "proposes", x, "in slot", s, "of view", floor[self]>>
                       /\ UNCHANGED <<floor, began, view, installed, begins, log, changes, opened, acks, gone>>
                    \/ /\ \E s \in Decided(self) + 1..Slots:
                            \E x \in Values:
                              /\ installed[self] /\ InWindow(self, s) /\ Stands(self, s, x) /\ MayEndorse(self, view[self], s)
                              /\ votes' = (votes \union {[by |-> self, view |-> floor[self], slot |-> s, what |-> x]})
                              /\ lanes' = [lanes EXCEPT ![self][s % Alpha] = [slot |-> s, view |-> floor[self], what |-> x]]
                              /\ step' = <<"r", self, "votes for", x, "in slot", s, "of view", floor[self]>>
                       /\ UNCHANGED <<floor, began, view, installed, begins, log, changes, opened, acks, gone>>
                    \/ /\ \E s \in {Decided(self) + 1} \ 1..gone:
                            \E e \in {[view |-> o.view, what |-> o.what] : o \in {q \in votes : q.slot = s}}:
                              /\ IsDecided(e.view, s, e.what)
                              /\ log' = [log EXCEPT ![self] = Append(log[self], e)]
                              /\ step' = <<"r", self, "learns that slot", s, "is decided:", e.what>>
                       /\ UNCHANGED <<votes, lanes, floor, began, view, installed, begins, changes, opened, acks, gone>>
                    \/ /\ \E v \in view[self] + 1..Views:
                            /\ view' = [view EXCEPT ![self] = v]
                            /\ installed' = [installed EXCEPT ![self] = FALSE]
                            /\ floor' = [floor EXCEPT ![self] = v]
                            /\ changes' = (changes \union {Change(self, v)})
                            /\ step' = <<"r", self, "leaves for view", v>>
                       /\ UNCHANGED <<votes, lanes, began, begins, log, opened, acks, gone>>
                    \/ /\ \E v \in {view[self]} \ {0}:
                            /\ ~installed[self] /\ PrimaryOf(v) = self /\ floor[self] = v /\ began[self] < v
                            /\ \E c \in Acceptable(v):
                                 \E d \in Acceptable(v):
                                   /\ c.by < d.by
                                   /\ opened' = [opened EXCEPT ![v] = {Follows(v, {c, d})}]
                                   /\ began' = [began EXCEPT ![self] = v]
                                   /\ step' = <<"r", self, "opens view", v, "with what", c.by, "and", d.by, "said">>
                       /\ UNCHANGED <<votes, lanes, floor, view, installed, begins, log, changes, acks, gone>>
                    \/ /\ \E v \in {w \in 1..Views : opened[w] # {} /\ view[self] <= w}:
                            /\ view[self] < v \/ ~installed[self]
                            /\ \A a \in acks : a.by # self \/ a.how.view < v
                            /\ changes' = (IF view[self] < v THEN changes \union {Change(self, v)} ELSE changes)
                            /\ acks' = (acks \union {[by |-> self, how |-> b] : b \in opened[v]})
                            /\ view' = [view EXCEPT ![self] = v]
                            /\ installed' = [installed EXCEPT ![self] = FALSE]
                            /\ floor' = [floor EXCEPT ![self] = v]
                            /\ step' = <<"r", self, "acknowledges", CHOOSE b \in opened[v] : TRUE>>
                       /\ UNCHANGED <<votes, lanes, began, begins, log, opened, gone>>
                    \/ /\ \E v \in view[self]..Views:
                            /\ v > 0 /\ (view[self] < v \/ ~installed[self])
                            /\ \E b \in Begun(v):
                                 /\ view' = [view EXCEPT ![self] = v]
                                 /\ installed' = [installed EXCEPT ![self] = TRUE]
                                 /\ floor' = [floor EXCEPT ![self] = v]
                                 /\ begins' = [begins EXCEPT ![self] = Taken(self, b)]
                                 /\ step' = <<"r", self, "begins view", v>>
                       /\ UNCHANGED <<votes, lanes, began, log, changes, opened, acks, gone>>
                    \/ /\ \E s \in gone + 1..Decided(self):
                            /\ Forgets /\ Cardinality({r \in Correct : Decided(r) >= s}) >= Quorum
                            /\ gone' = s
                            /\ step' = <<"slots up to", s, "are forgotten">>
                       /\ UNCHANGED <<votes, lanes, floor, began, view, installed, begins, log, changes, opened, acks>>
                    \/ /\ \E r \in Correct:
                            /\ Decided(self) < gone /\ Decided(r) >= gone /\ Mistake # "no-state-transfer"
                            /\ log' = [log EXCEPT ![self] = SubSeq(log[r], 1, gone)]
                            /\ step' = <<"r", self, "takes the state of slot", gone>>
                       /\ UNCHANGED <<votes, lanes, floor, began, view, installed, begins, changes, opened, acks, gone>>
                 /\ UNCHANGED reports

Liar(self) == /\ \/ /\ \E s \in 1..Slots:
                         \E v \in 0..floor[self]:
                           \E x \in Lies:
                             /\ MayEndorse(self, v, s)
                             /\ votes' = (votes \union {[by |-> self, view |-> v, slot |-> s, what |-> x]})
                             /\ lanes' = [lanes EXCEPT ![self][s % Alpha] = [slot |-> s, view |-> v, what |-> x]]
                             /\ step' = <<"r", self, "(faulty) votes for", x, "in slot", s, "of view", v>>
                    /\ UNCHANGED <<floor, began, reports, opened>>
                 \/ /\ \E v \in floor[self] + 1..Views:
                         /\ floor' = [floor EXCEPT ![self] = v]
                         /\ reports' = (reports \union {[by |-> self, to |-> v, lanes |-> lanes[self]]})
                         /\ step' = <<"r", self, "(faulty) leaves for view", v>>
                    /\ UNCHANGED <<votes, lanes, began, opened>>
                 \/ /\ \E v \in {floor[self]} \ {0}:
                         /\ PrimaryOf(v) = self /\ began[self] < v
                         /\ \E c \in Acceptable(v):
                              \E d \in Acceptable(v):
                                /\ c.by < d.by
                                /\ opened' = [opened EXCEPT ![v] = {Follows(v, {c, d})}]
                                /\ began' = [began EXCEPT ![self] = v]
                                /\ step' = <<"r", self, "(faulty) opens view", v, "with what", c.by, "and", d.by, "said">>
                    /\ UNCHANGED <<votes, lanes, floor, reports>>
              /\ UNCHANGED << view, installed, begins, log, changes, acks, 
                              gone >>

Next == (\E self \in Correct: Replica(self))
           \/ (\E self \in Faulty: Liar(self))

Spec == /\ Init /\ [][Next]_vars
        /\ \A self \in Correct : WF_vars(Replica(self))
        /\ \A self \in Faulty : WF_vars(Liar(self))

\* END TRANSLATION - the hash of the generated TLA code (remove to silence divergence warnings): TLA-437c42c28956f0ab0c52b038a5ecafa7

(* What is distinguished: everything but the words, and but what was said of a view whose beginning is chosen. *)
Waits(c) == opened[c.to] = {}
Seen == <<votes, lanes, floor, view, installed, begins, log, {c \in changes : Waits(c)}, {c \in reports : Waits(c)},
          opened, acks, gone>>

(* For configurations, which cannot name sequences. *)
Two == <<{"a"}, {"b"}>>
Three == <<{"a"}, {"b"}, {"c"}>>

(* Where nothing can happen any more, everybody has everything. *)
CaughtUp == ENABLED Next \/ \A r \in Correct : Decided(r) = Slots

(* Must be reachable: a run that never gets there shows nothing. *)
NothingDecidedLater == \A r \in Correct : \A s \in 1..Decided(r) : log[r][s].view = 0
=============================================================================
