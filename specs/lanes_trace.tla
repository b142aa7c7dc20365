---------------------------- MODULE lanes_trace ----------------------------
(* Whether a run of the simulator is a behaviour of `lanes`. `trace_data` is written by the example `lanes_trace` of         *)
(* crates/sim: what the replicas said, in order, each for the first time. What a replica does unseen (it learns a             *)
(* decision, it begins a view) is its own affair until it says something next, so it happens right before that.             *)
EXTENDS lanes, trace_data

VARIABLE place

Now == Trace[place]
Word == step'[3]

Said ==
    CASE Now.kind = "vote" ->
            /\ Word = (IF Now.proposes THEN "proposes" ELSE "votes for")
            /\ votes' = votes \union {[by |-> Now.who, view |-> Now.view, slot |-> Now.slot, what |-> Now.what]}
      [] Now.kind = "leave" ->
            /\ Word = "leaves for view"
            /\ \E c \in changes' \ changes :
                /\ c.by = Now.who /\ c.to = Now.view
                /\ c.lanes = Now.lanes /\ c.decided = Now.decided
      [] Now.kind = "open" -> Word = "opens view" /\ opened'[Now.view] = {Now.how}
      [] Now.kind = "ack" -> Word = "acknowledges" /\ view'[Now.who] = Now.view

(* Where a replica says it stands. *)
StandsThere ==
    /\ view[Now.who] = Now.view /\ installed[Now.who] = Now.installed /\ Decided(Now.who) = Now.decided
    /\ UNCHANGED vars

TraceInit == Init /\ place = 1

TraceNext ==
    /\ place <= Len(Trace)
    /\ \/ Now.kind # "stands" /\ Replica(Now.who) /\ Said /\ place' = place + 1
       \/ Now.kind = "stands" /\ StandsThere /\ place' = place + 1
       \/ Replica(Now.who) /\ Word \in {"learns that slot", "begins view"} /\ UNCHANGED place

TraceSpec == TraceInit /\ [][TraceNext]_<<vars, place>>
TraceSeen == <<Seen, place>>

(* Fails where the trace is followed to its end. *)
Unfinished == place <= Len(Trace)
=============================================================================
