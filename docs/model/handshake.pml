/*
 * Handshake, confirmation and new keys, of both sides: which session each receives and
 * sends on (rootstream/protocol/slots.py, handshakes.py, link.py; docs/protocol.rst).
 *
 * The network is an adversary that has seen everything.  It delivers any INIT and any
 * RESP that was ever sent, at any time and as often as it likes, and any DATA late, or
 * never; so it loses, delays, reorders and copies.  It makes INITs in a peer's name, as
 * one can who stole the other's key.  After any number of ticks of the clock what is
 * newly sent arrives within its tick, and what DATA was held back is lost, but the
 * adversary goes on.  GOOD ticks later both sides must send on one session.
 *
 * Side 0 dials, with BOTH side 1 does as well.  Side 0 has the larger key.  A tick is
 * about 2.5 s.  Sessions and INITs are numbered from 1; a set of them has a bit for each.
 */

#ifndef INITS
#define INITS 6			/* how many INITs there are */
#endif
#ifndef BADINITS
#define BADINITS 3		/* of these, before the network is good */
#endif
#ifndef SESSIONS
#define SESSIONS 9		/* how many answers to INITs */
#endif
#ifndef BADSESSIONS
#define BADSESSIONS 3		/* of these, before the network is good */
#endif
#ifndef REKEYS
#define REKEYS 1		/* how often new keys are wanted */
#endif
#ifndef DEATHS
#define DEATHS 1		/* how often keys die of age, on one side first */
#endif
#ifndef RESTARTS
#define RESTARTS 1		/* how often a side is restarted */
#endif
#ifndef FORGED
#define FORGED 1		/* how many INITs are forged with a stolen key */
#endif
#ifdef BOTH
#define DIALS(x) true
#else
#define DIALS(x) (x == 0)
#endif

#define HALF_LIFE 2		/* HALF_OPEN_LIFE, 5 s */
#define PREVIOUS_LIFE 3		/* PREVIOUS_KEY_LIFE, 15 s; more than HALF_LIFE counts */
#define IMPAIRED 1		/* IMPAIRED_AFTER, 1.5 s */
#define GRACE 1			/* SIMULTANEOUS_GRACE, 1 s */
#define HALF_MAX 2		/* MAX_OUTSTANDING_INITS, 8; fewer are harder */
#define GOOD (PREVIOUS_LIFE + IMPAIRED + 4)

#define IN(set, n) ((set >> n) & 1)
#define WITH(set, n) (set | (1 << n))
#define WITHOUT(set, n) (set & ~(1 << n))

/* What a side knows. */
byte current[2];
byte previous[2];
byte previousAge[2];
short half[2];			/* half-open sessions, a set */
byte halfAge[SESSIONS + 1];
short outstanding[2];		/* INITs that wait for an answer, a set */
bool dialling[2];
byte dialledFor[2];		/* ticks */
byte heldFor[2];
byte silentFor[2];
byte newest[2];			/* the last INIT that was fresh: its timestamp */
bit instance[2];
bit peerInstance[2];
bool knowsInstance[2];

/* What was sent. */
byte inits;
bit owner[INITS + 1];
bool forgery[INITS + 1];
bit ownerInstance[INITS + 1];
byte sessions;
byte initOf[SESSIONS + 1];
bit answererInstance[SESSIONS + 1];
short flying[2];			/* sessions with a packet of this side not taken yet */

/* What must arrive within this tick. */
short mustInit, mustResp, mustData[2];

/* What has been, for the assertions alone. */
short taken;			/* sessions of which the RESP was taken: both sides made them */
short gone[2];			/* sessions whose keys were dropped */

bool good, over;
byte ticks;
byte rekeys, deaths, restarts, forged;

inline sendData(x, s) {
	flying[x] = WITH(flying[x], s);
	if
	:: good -> mustData[x] = WITH(mustData[x], s)
	:: else
	fi
}

inline drop(x, s) {
	printf("%d: keys of %d go\n", x, s);
	if
	:: IN(half[x], s) -> half[x] = WITHOUT(half[x], s); halfAge[s] = 0
	:: else
	fi;
	gone[x] = WITH(gone[x], s);
	if
	:: current[x] == s -> current[x] = 0
	:: else
	fi;
	if
	:: previous[x] == s -> previous[x] = 0; previousAge[x] = 0
	:: else
	fi
}

/* Slots.establish, and what Link does around it. */
inline establish(x, s, theirs) {
	printf("%d: session %d\n", x, s);
	assert(!IN(gone[x], s));
	/* No session that the peer knows nothing of comes into use. */
	assert(IN(taken, s));
	k = 1;
	do
	:: k > SESSIONS -> break
	:: k <= SESSIONS ->
		if
		/* Those begun before it go, later ones stay. */
		:: IN(half[x], k) && k != s && (!IN(half[x], s) || k < s) -> drop(x, k)
		:: else
		fi;
		k++
	od;
	half[x] = WITHOUT(half[x], s);
	halfAge[s] = 0;
	if
	:: previous[x] -> drop(x, previous[x])
	:: else
	fi;
#ifndef BROKEN_INSTANCE
	if
	:: current[x] && knowsInstance[x] && peerInstance[x] != theirs -> drop(x, current[x])
	:: else
	fi;
#endif
	previous[x] = current[x];
	previousAge[x] = 0;
	current[x] = s;
	peerInstance[x] = theirs;
	knowsInstance[x] = true;
	dialling[x] = false;
	dialledFor[x] = 0;
	outstanding[x] = 0;
	silentFor[x] = 0
}

inline dial(x) {
	if
	:: !dialling[x] -> dialling[x] = true; dialledFor[x] = 0
	:: else
	fi
}

/* Node._judge and Link.invited. */
inline takeInit(y, i) {
	mustInit = WITHOUT(mustInit, i);
	ignored = false;
#ifndef BROKEN_FRESHNESS
	ignored = (i <= newest[y]);
#endif
#ifndef BROKEN_SIMULTANEOUS
	if
	:: !ignored && dialling[y] && y == 0 && dialledFor[y] < GRACE -> ignored = true
	:: else
	fi;
#endif
	if
	:: ignored || sessions == (good -> SESSIONS : BADSESSIONS)
	:: else ->
		/* No INIT is answered twice, but by one who was restarted. */
		k = 1;
		do
		:: k > sessions -> break
		:: k <= sessions ->
			assert(initOf[k] != i || answererInstance[k] != instance[y]);
			k++
		od;
		newest[y] = i;
#ifndef BROKEN_SIMULTANEOUS
		if
		:: dialling[y] && y == 1 -> outstanding[y] = 0; heldFor[y] = GRACE
		:: else
		fi;
#endif
		/* The oldest half-open session makes room. */
		k = 1;
		n = 0;
		do
		:: k > SESSIONS -> break
		:: k <= SESSIONS -> n = n + IN(half[y], k); k++
		od;
		if
		:: n >= HALF_MAX ->
			k = 1;
			do
			:: IN(half[y], k) -> drop(y, k); break
			:: else -> k++
			od
		:: else
		fi;
		sessions++;
		printf("%d: INIT %d is answered, session %d\n", y, i, sessions);
		initOf[sessions] = i;
		answererInstance[sessions] = instance[y];
		if
		:: current[y] -> sendData(y, current[y])
		:: else
		fi;
		half[y] = WITH(half[y], sessions);
		halfAge[sessions] = 0;
#ifdef BROKEN_CONFIRMATION
		establish(y, sessions, ownerInstance[i]);
#endif
		if
		:: good && !forgery[i] -> mustResp = WITH(mustResp, sessions)
		:: else
		fi
	fi
}

#ifdef BROKEN_ONCE
#define ANSWERS !forgery[i]
#else
#define ANSWERS IN(outstanding[x], i)
#endif

/* Link._respReceived. */
inline takeResp(s) {
	printf("RESP of session %d comes\n", s);
	mustResp = WITHOUT(mustResp, s);
	i = initOf[s];
	x = owner[i];
	if
	:: ANSWERS ->
		taken = WITH(taken, s);
		establish(x, s, answererInstance[s]);
		sendData(x, s)
	:: else
	fi
}

/* Link._dataReceived: what y takes of x. */
inline takeData(x, y, s) {
#ifndef BROKEN_WINDOW
	flying[x] = WITHOUT(flying[x], s);
#endif
	mustData[x] = WITHOUT(mustData[x], s);
	printf("%d: DATA comes under session %d\n", y, s);
	if
	:: current[y] == s || previous[y] == s || IN(half[y], s) ->
		/* No old key is good for anything. */
		assert(!IN(gone[y], s));
		assert(previous[y] != s || previousAge[y] <= PREVIOUS_LIFE);
		if
		:: IN(half[y], s) -> establish(y, s, ownerInstance[initOf[s]])
		:: else
		fi;
		assert((owner[initOf[s]] == y && peerInstance[y] == answererInstance[s])
			|| (owner[initOf[s]] == x && peerInstance[y] == ownerInstance[initOf[s]]));
		if
		:: silentFor[y] > IMPAIRED ->
			/* The keys that there are will do. */
			dialling[y] = false;
			dialledFor[y] = 0;
			outstanding[y] = 0
		:: else
		fi;
		silentFor[y] = 0
	:: else
	fi
}

inline timers(x) {
	printf("%d: a tick, %d\n", x, ticks);
	k = 1;
	do
	:: k > SESSIONS -> break
	:: k <= SESSIONS ->
		if
		:: IN(half[x], k) ->
			halfAge[k]++;
			if
			:: halfAge[k] > HALF_LIFE -> drop(x, k)
			:: else
			fi
		:: else
		fi;
		k++
	od;
	if
	:: previous[x] ->
		if
		:: previousAge[x] <= PREVIOUS_LIFE -> previousAge[x]++
		:: else
		fi;
#ifndef BROKEN_PREVIOUS
		if
		:: previousAge[x] > PREVIOUS_LIFE -> drop(x, previous[x])
		:: else
		fi
#endif
	:: else
	fi;
	if
	:: heldFor[x] -> heldFor[x]--
	:: else
	fi;
	if
	:: dialling[x] && dialledFor[x] < GRACE -> dialledFor[x]++
	:: else
	fi;
	if
	:: silentFor[x] <= IMPAIRED -> silentFor[x]++
	:: else
	fi;
	if
	:: DIALS(x) && (!current[x] || silentFor[x] > IMPAIRED) -> dial(x)
	:: else
	fi;
	if
	:: current[x] -> sendData(x, current[x])
	:: else
	fi
}

/* One more INIT; one that is lost for good need not be told of, before all is well. */
inline sendInit(x, isForged) {
	inits++;
	printf("%d: INIT %d, forged %d\n", x, inits, isForged);
	owner[inits] = x;
	forgery[inits] = isForged;
	ownerInstance[inits] = instance[x];
	if
	:: !isForged ->
		outstanding[x] = WITH(outstanding[x], inits);
		if
		:: good -> mustInit = WITH(mustInit, inits)
		:: else
		fi
	:: else
	fi
}

#define DUE(x) (dialling[x] && !heldFor[x])
/* What was held back till then is lost when the network is good; copies are not. */
#ifdef BROKEN_WINDOW
#define LET(x, s) true
#else
#define LET(x, s) (!good || IN(mustData[x], s))
#endif
#define ARRIVED (!mustInit && !mustResp && !mustData[0] && !mustData[1])

active proctype Clock()
{
	byte k;
	do
	:: over -> break
	:: d_step { !over && !good ->
		timers(0);
		timers(1)
	}
	:: d_step { !over && !good -> good = true }
	:: d_step { !over && good && ARRIVED && ticks < GOOD ->
		ticks++;
		timers(0);
		timers(1);
		if
		:: DUE(0) -> assert(inits < INITS); sendInit(0, false)
		:: else
		fi;
		if
		:: DUE(1) -> assert(inits < INITS); sendInit(1, false)
		:: else
		fi;
		k = 0
	}
	:: d_step { !over && good && ARRIVED && ticks == GOOD ->
		over = true;
		/* It came back, and both sides agree. */
		assert(current[0]);
		assert(current[0] == current[1])
	}
	od
}

active proctype Network()
{
	byte i, s, k, n;
	bit x;
	bool ignored;
	do
	:: over -> break
	/* The sides do what they do in no order that anybody chose. */
	:: d_step { !over && !good && DUE(0) && inits < BADINITS -> sendInit(0, false) }
	:: d_step { !over && !good && DUE(1) && inits < BADINITS -> sendInit(1, false) }
	:: d_step { !over && !good && rekeys < REKEYS && current[0] ->
		/* Asked of the initiator of the session; by use it may be either. */
		rekeys++;
		dial(0)
	}
#ifdef BOTH
	:: d_step { !over && !good && rekeys < REKEYS && current[1] ->
		rekeys++;
		dial(1)
	}
#endif
	:: atomic { !over && !good && deaths < DEATHS ->
		if
		:: x = 0
		:: x = 1
		fi;
		d_step {
			if
			:: current[x] ->
				deaths++;
				drop(x, current[x]);
				/* There is nothing left to answer with. */
				if
				:: previous[x] -> drop(x, previous[x])
				:: else
				fi
			:: else
			fi;
			x = 0
		}
	}
	:: atomic { !over && !good && restarts < RESTARTS ->
		if
		:: x = 0
		:: x = 1
		fi;
		d_step {
			restarts++;
			/* It has forgotten; its keys are gone. */
			k = 1;
			do
			:: k > SESSIONS -> break
			:: k <= SESSIONS ->
				if
				:: IN(half[x], k) -> halfAge[k] = 0
				:: else
				fi;
				k++
			od;
			k = 0;
			gone[x] = gone[x] | half[x];
			current[x] = 0;
			previous[x] = 0;
			previousAge[x] = 0;
			half[x] = 0;
			outstanding[x] = 0;
			dialling[x] = false;
			dialledFor[x] = 0;
			heldFor[x] = 0;
			silentFor[x] = 0;
			newest[x] = 0;
			knowsInstance[x] = false;
			instance[x] = 1 - instance[x];
			x = 0
		}
	}
	:: d_step { !over && !good && forged < FORGED && inits < BADINITS ->
		forged++;
		sendInit(0, true)
	}
	/* Any INIT, again and again. */
	:: atomic { !over && inits ->
		i = 1;
		do
		:: i < inits -> i++
		:: break
		od;
		d_step { takeInit((1 - owner[i]), i); i = 0; k = 0; n = 0; ignored = false }
	}
	/* Any RESP. */
	:: atomic { !over && sessions ->
		s = 1;
		do
		:: s < sessions -> s++
		:: break
		od;
		d_step { takeResp(s); i = 0; s = 0; k = 0; x = 0 }
	}
#ifdef BROKEN_RESP
	/* A RESP that does not open ends the attempt. */
	:: d_step { !over && outstanding[0] -> outstanding[0] = 0; mustResp = 0 }
#endif
	/* Any DATA. */
	:: atomic { !over && flying[0] ->
		s = 1;
		do
		:: s < sessions -> s++
		:: break
		od;
		d_step {
			if
			:: IN(flying[0], s) && LET(0, s) -> takeData(0, 1, s)
			:: else
			fi;
			s = 0; k = 0
		}
	}
	:: atomic { !over && flying[1] ->
		s = 1;
		do
		:: s < sessions -> s++
		:: break
		od;
		d_step {
			if
			:: IN(flying[1], s) && LET(1, s) -> takeData(1, 0, s)
			:: else
			fi;
			s = 0; k = 0
		}
	}
	od
}
