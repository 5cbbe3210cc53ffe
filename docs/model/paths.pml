/*
 * Which path each side of a session sends on (rootstream/protocol/paths.py, failover.py,
 * routing.py; docs/protocol.rst, "Paths").
 *
 * Path 0 is UDP.  Path 1 is a connection, which the network may cut, and mend, one way
 * or both, as it may path 0.  Then the network becomes good: what works then goes on to
 * work, which is path 0 or path 1 or both; what does not may still work one way.  GOOD
 * ticks later both sides must send on the same path: on path 0 if that works.
 *
 * With FORWARDER, path 0 always works, and path 1 is the UDP address of somebody who is
 * faster: he has all packets, and hands any of them, as often as he likes, to either
 * side.  Neither may ever send to him alone.
 *
 * Side 0 dialled.  A tick is about 0.5 s; what a path carries arrives within its tick, in
 * any order.  Sets of paths and of what flies have a bit for each.
 */

#define OLD_PATIENCE 1		/* OLD_PATH_PATIENCE, 0.3 s */
#define HOLD 1			/* PATH_PROBE_HOLD, 1 s */
#define ATTEMPTS 2		/* CHALLENGE_ATTEMPTS */
#define SUSPECT 1		/* SUSPECT_AFTER, 0.15 s */
#define DEAD 2			/* DEAD_AFTER, 1 s */
#define RETURN 2		/* PROBES_TO_RETURN, 3 */
#ifndef GOOD
#define GOOD 14
#endif
#ifndef COPIES
#define COPIES 4		/* how many packets the forwarder copies in a tick */
#endif
#ifndef CHANGES
#define CHANGES 4		/* how often the network cuts or mends a line */
#endif
#define NONE 2

/* What can fly.  A challenge, and its answer, name the path that they are about. */
#define DATA 0
#define ACK 1
#define ASK 2			/* and 3, of path 1 */
#define ANSWER 4		/* and 5, of path 1 */
#define USE 6

#define IN(set, n) ((set >> n) & 1)
#define WITH(set, n) (set | (1 << n))
#define WITHOUT(set, n) (set & ~(1 << n))
#ifdef FORWARDER
#define UDP(p) true
#else
#define UDP(p) (p == 0)
#endif

typedef Side {
	bit current;
	byte candidate = NONE;
	bool deliberate, oldAnswered;
	byte oldUntil, quietFor;
	byte validated = 1;	/* path 0, by the handshake */
	byte asked[2];		/* how often more it is asked */
	byte waitingFor;
	bool suspect, alive;	/* the other path was heard since */
	byte probes;
	byte seq;
	byte told		/* the PATH_USE that flies */
};
Side side[2];
byte fly[4];			/* of side x on path p: 2 * x + p */
byte works = 15;		/* from side x on path p, the same */
bool good, over;
byte ticks, changes, copies;

#define OTHER(p) (1 - p)
#define HOPEFUL(x) (side[x].candidate != NONE && \
	IN(side[x].validated, side[x].candidate) && !side[x].oldAnswered)
#define STANDBY(x) IN(side[x].validated, OTHER(side[x].current))
#define DOUBLED(x) ((HOPEFUL(x) && side[x].candidate != side[x].current) || \
	(side[x].suspect && side[x].waitingFor < DEAD && STANDBY(x)))

inline put(x, p, kind) {
	if
	:: IN(works, (2 * x + p)) -> fly[2 * x + p] = WITH(fly[2 * x + p], kind)
	:: else
	fi
}

inline putInUse(x, kind) {
	put(x, side[x].current, kind);
	if
	:: DOUBLED(x) -> put(x, OTHER(side[x].current), kind)
	:: else
	fi
}

inline ask(x, p) {
	/* What was said of the challenge before counts no more. */
	j = 0;
	do
	:: j == 2 -> break
	:: else ->
		fly[2 * x + j] = WITHOUT(fly[2 * x + j], (ASK + p));
		fly[2 * (1 - x) + j] = WITHOUT(fly[2 * (1 - x) + j], (ANSWER + p));
		j++
	od;
	side[x].asked[p] = ATTEMPTS;
	put(x, p, (ASK + p))
}

/* Only which number is the higher matters, so they are kept small. */
inline announce(x) {
	if
	:: side[x].seq <= side[1 - x].seq -> side[x].seq++
	:: else
	fi;
	side[x].told = side[x].seq;
	lower();
	putInUse(x, USE)
}

inline lower() {
	if
	:: side[0].seq && side[1].seq ->
		side[0].seq--;
		side[1].seq--;
		side[0].told = (side[0].told -> side[0].told - 1 : 0);
		side[1].told = (side[1].told -> side[1].told - 1 : 0)
	:: else
	fi
}

inline trust(x) {
	side[x].suspect = false;
	side[x].alive = false;
	side[x].waitingFor = 0
}

inline goTo(x, p) {
	printf("%d: path %d\n", x, p);
	side[x].current = p;
	side[x].candidate = NONE;
	side[x].deliberate = false;
	side[x].oldAnswered = false;
	side[x].oldUntil = 0;
	side[x].probes = 0;
	trust(x);
	/* What is not acknowledged goes out again. */
	put(x, p, DATA)
}

/* Paths.question */
inline question(x, p) {
	if
	:: side[x].candidate != NONE || side[x].quietFor
	:: else ->
		side[x].candidate = p;
		side[x].deliberate = false;
		side[x].oldAnswered = false;
#ifdef BROKEN_ASK
		side[x].oldUntil = 0;
#else
		side[x].oldUntil = OLD_PATIENCE;
#endif
		if
		:: !IN(side[x].validated, p) -> ask(x, p)
		:: else
		fi;
		ask(x, side[x].current)
	fi
}

/* Paths.decide and Routing.timerFired */
inline decide(x) {
	if
	:: side[x].candidate == NONE
	:: side[x].candidate != NONE && side[x].oldAnswered && !side[x].deliberate ->
		side[x].candidate = NONE;
		side[x].oldAnswered = false;
		side[x].oldUntil = 0;
		side[x].quietFor = HOLD;
#ifndef BROKEN_INSIST
		if
		:: x == 0 && UDP(side[x].current) -> announce(x)
		:: else
		fi
#endif
	:: side[x].candidate != NONE && !(side[x].oldAnswered && !side[x].deliberate) ->
		if
		:: side[x].oldUntil || !IN(side[x].validated, side[x].candidate)
		:: else ->
			if
			:: !side[x].deliberate ->
				side[x].validated = WITHOUT(side[x].validated, side[x].current)
			:: else
			fi;
			j = side[x].candidate;
			goTo(x, j)
		fi
	fi
}

/* y takes what x sent, by path p. */
inline take(x, y, p, kind) {
	printf("%d: %d by path %d\n", y, kind, p);
	if
	:: side[y].suspect && p != side[y].current -> side[y].alive = true
	:: else
	fi;
	if
	:: kind == DATA ->
		putInUse(y, ACK);
		if
		:: p != side[y].current -> question(y, p)
		:: else
		fi
	:: kind == ACK ->
		if
		:: !DOUBLED(y) -> trust(y)
		:: else
		fi
	:: kind == ASK || kind == ASK + 1 -> put(y, p, (kind + 2))
	:: kind == ANSWER || kind == ANSWER + 1 ->
		if
		:: side[y].asked[kind - ANSWER] ->
			side[y].asked[kind - ANSWER] = 0;
			side[y].validated = WITH(side[y].validated, (kind - ANSWER));
			if
			:: kind - ANSWER == side[y].current ->
				side[y].oldAnswered = (side[y].candidate != NONE);
				trust(y)
			:: else ->
				if
				:: y == 0 && kind == ANSWER && side[y].probes < RETURN ->
					side[y].probes++
				:: else
				fi
			fi
		:: else
		fi
	:: kind == USE ->
		if
		:: side[x].told > side[y].seq ->
			side[y].seq = side[x].told;
			lower();
			if
#ifdef BROKEN_USE
			:: p != side[y].current ->
#else
			:: p != side[y].current && !UDP(side[y].current) ->
#endif
				side[y].candidate = p;
				side[y].deliberate = true;
				side[y].oldUntil = 0;
				if
				:: !IN(side[y].validated, p) -> ask(y, p)
				:: else
				fi
			:: else
			fi
		:: else
		fi
	fi;
	decide(y)
}

inline move(x, p) {
	goTo(x, p);
	announce(x)
}

inline timers(x) {
	printf("%d: a tick, %d, path %d, works %d\n", x, ticks, side[x].current, works);
	if
	:: side[x].quietFor -> side[x].quietFor--
	:: else
	fi;
	if
	:: side[x].oldUntil -> side[x].oldUntil--
	:: else
	fi;
	/* Challenges are repeated, a few times. */
	i = 0;
	do
	:: i == 2 -> break
	:: else ->
		if
		:: side[x].asked[i] > 1 ->
			side[x].asked[i]--;
			put(x, i, (ASK + i))
		:: side[x].asked[i] == 1 ->
			side[x].asked[i] = 0;
			if
			:: side[x].candidate == i ->
				side[x].candidate = NONE;
				side[x].oldUntil = 0;
				side[x].deliberate = false;
				side[x].oldAnswered = false
			:: else
			fi;
			if
			:: i == 0 && side[x].current == 1 -> side[x].probes = 0
			:: else
			fi
		:: else
		fi;
		i++
	od;
	decide(x);
	/* Failover. */
	if
	:: side[x].waitingFor >= SUSPECT && !side[x].suspect ->
		side[x].suspect = true;
		side[x].alive = false;
		ask(x, side[x].current);
		if
		:: STANDBY(x) -> ask(x, OTHER(side[x].current))
		:: else
		fi
	:: else
	fi;
	if
	:: side[x].suspect && side[x].waitingFor >= DEAD && side[x].alive && STANDBY(x) ->
		i = side[x].current;
		side[x].validated = WITHOUT(side[x].validated, i);
		i = OTHER(i);
		move(x, i)
	:: else
	fi;
	/* A connection is asked now and then, by both; UDP by the side that dialled. */
	if
	:: !UDP(1) && side[x].current == 0 && !side[x].asked[1] -> ask(x, 1)
	:: else
	fi;
#ifndef BROKEN_RETURN
	if
	:: x == 0 && !UDP(1) && side[x].current == 1 ->
		if
		:: side[x].probes >= RETURN -> move(x, 0)
		:: else ->
			if
			:: !side[x].asked[0] -> ask(x, 0)
			:: else
			fi
		fi
	:: else
	fi;
#endif
	if
	:: side[x].waitingFor < DEAD -> side[x].waitingFor++
	:: else
	fi;
	putInUse(x, DATA);
	i = 0;
	j = 0
}

#define QUIET (!fly[0] && !fly[1] && !fly[2] && !fly[3])
#define BOTHWAYS(p) (IN(works, p) && IN(works, (2 + p)))

active proctype Clock()
{
	byte i, j;
	do
	:: over -> break
	:: d_step { !over && QUIET && ticks < GOOD ->
		if
		:: good -> ticks++
		:: else
		fi;
		copies = 0;
		timers(0);
		timers(1)
	}
#ifndef FORWARDER
	:: d_step { !over && !good && (BOTHWAYS(0) || BOTHWAYS(1)) -> good = true }
#endif
	:: d_step { !over && good && QUIET && ticks == GOOD ->
		over = true;
		assert(side[0].current == side[1].current);
		assert(side[0].current == (BOTHWAYS(0) -> 0 : 1))
	}
	od
}

active proctype Network()
{
	byte j, where, kind;
	do
	:: over -> break
	:: atomic { !over && !QUIET ->
		if
		:: fly[0] -> where = 0
		:: fly[1] -> where = 1
		:: fly[2] -> where = 2
		:: fly[3] -> where = 3
		fi;
		if
		:: IN(fly[where], 0) -> kind = 0
		:: IN(fly[where], 1) -> kind = 1
		:: IN(fly[where], 2) -> kind = 2
		:: IN(fly[where], 3) -> kind = 3
		:: IN(fly[where], 4) -> kind = 4
		:: IN(fly[where], 5) -> kind = 5
		:: IN(fly[where], 6) -> kind = 6
		fi;
		d_step {
			fly[where] = WITHOUT(fly[where], kind);
			if
			:: where < 2 -> take(0, 1, where, kind)
			:: else -> take(1, 0, (where - 2), kind)
			fi;
			where = 0;
			kind = 0;
			j = 0
		}
#ifdef FORWARDER
		assert(side[0].current == 0 && side[1].current == 0)
#endif
	}
#ifdef FORWARDER
	/* A copy of one packet under way, before it has arrived; as often as he likes. */
	:: atomic { !over && ((fly[0] & ~fly[1]) || (fly[2] & ~fly[3])) && copies < COPIES ->
		if
		:: fly[0] & ~fly[1] -> where = 0
		:: fly[2] & ~fly[3] -> where = 2
		fi;
		if
		:: IN((fly[where] & ~fly[where + 1]), 0) -> kind = 0
		:: IN((fly[where] & ~fly[where + 1]), 1) -> kind = 1
		:: IN((fly[where] & ~fly[where + 1]), 2) -> kind = 2
		:: IN((fly[where] & ~fly[where + 1]), 3) -> kind = 3
		:: IN((fly[where] & ~fly[where + 1]), 4) -> kind = 4
		:: IN((fly[where] & ~fly[where + 1]), 5) -> kind = 5
		:: IN((fly[where] & ~fly[where + 1]), 6) -> kind = 6
		fi;
		d_step {
			copies++;
			fly[where + 1] = WITH(fly[where + 1], kind);
			where = 0;
			kind = 0
		}
	}
	/* What he holds back he may lose. */
	:: d_step { !over && fly[1] -> fly[1] = 0 }
	:: d_step { !over && fly[3] -> fly[3] = 0 }
#else
	/* A line is cut, with what is on it, or mended. */
	:: atomic { !over && !good && changes < CHANGES ->
		if
		:: where = 0
		:: where = 1
		:: where = 2
		:: where = 3
		fi;
		d_step {
			changes++;
			works = works ^ (1 << where);
			fly[where] = 0;
			where = 0
		}
	}
#endif
	od
}
