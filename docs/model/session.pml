/*
 * Handshake, confirmation and new keys, of both sides.
 *
 * The network is the set of all packets that were ever sent: any of them is delivered
 * at any time, again, late, in any order, or never.  That is loss, copies, delay and
 * reordering, and an adversary that injects what it saw.  What it cannot do is open or
 * make packets without keys.
 *
 * An INIT is a number, in the order of timestamps; a key is a number, in the order in
 * which responders made them.  Side 1 has the larger static key.  See
 * rootstream/protocol/{slots,link,handshakes,node}.py.
 *
 * Each BROKEN_ macro takes one rule away; the checker must then find a fault.
 */

#define INITS 3			/* INITs in bad weather */
#define KEYS 3			/* answers in bad weather */
#ifndef SPARE
#define SPARE 2			/* INITs and answers left for good weather */
#endif
#ifndef TICKS
#define TICKS 4			/* a tick is a third of what a key lives */
#endif
#define LIFE 3
#define ALLINITS (INITS + SPARE)
#define ALLKEYS (KEYS + SPARE)
#define NOBODY 255

#define NONE 0
#define HALF 1
#define CURRENT 2
#define PREVIOUS 3
#define GONE 4

byte now;

byte inits;			/* how many there are */
bit by[ALLINITS];		/* who sent it */
bit fromLife[ALLINITS];		/* before or after his restart */
bit waits[ALLINITS];		/* the sender knows it still */
bit seen[ALLINITS];		/* its ephemeral is remembered by the other */
byte freshest[2];		/* one more than the last accepted from the other */

byte keys;
byte answers[ALLKEYS];		/* the INIT that it answers */
bit ofLife[ALLKEYS];		/* the responder's life */

/* Of each side, by side * ALLKEYS + key. */
byte slot[2 * ALLKEYS];
byte born[2 * ALLKEYS];
byte place[2 * ALLKEYS];	/* it was the how-manieth to be established */
bit sent[2 * ALLKEYS];		/* that side sent DATA under it */
byte established[2];
byte current[2];
byte previous[2];
bit life[2];
bit restarts;
byte heard;			/* who was, of the last round: bit 0, bit 1 */

#define at(side, key) ((side) * ALLKEYS + (key))
#define peerLife(side, key) \
	(by[answers[key]] == (side) -> ofLife[key] : fromLife[answers[key]])

hidden byte i;
hidden byte k;

inline remove(side, key)
{
	slot[at(side, key)] = GONE;
	born[at(side, key)] = 0;
	if
	:: current[side] == key -> current[side] = NOBODY
	:: else
	fi;
	if
	:: previous[side] == key -> previous[side] = NOBODY
	:: else
	fi
}

inline withdraw(side)
{
	i = 0;
	do
	:: i < ALLINITS ->
		if
		:: by[i] == side -> waits[i] = 0
		:: else
		fi;
		i++
	:: else -> break
	od;
	i = 0
}

inline establish(side, key)
{
	/* Half-open ones that are older lapse; later ones stay. */
	k = 0;
	do
	:: k < key ->
		if
		:: slot[at(side, k)] == HALF -> remove(side, k)
		:: else
		fi;
		k++
	:: else -> break
	od;
	k = 0;
#ifndef BROKEN_PREVIOUS
	if
	:: previous[side] != NOBODY -> k = previous[side]; remove(side, k); k = 0
	:: else
	fi;
#endif
#ifndef BROKEN_INSTANCE
	if
	:: current[side] != NOBODY &&
	   peerLife(side, current[side]) != peerLife(side, key) ->
		k = current[side]; remove(side, k); k = 0
	:: else
	fi;
#endif
	previous[side] = current[side];
	if
	:: previous[side] != NOBODY -> slot[at(side, previous[side])] = PREVIOUS
	:: else
	fi;
	current[side] = key;
	slot[at(side, key)] = CURRENT;
	established[side]++;
	place[at(side, key)] = established[side];
	withdraw(side)
}

/* A new INIT, whenever one is wanted: the first, a repeated one, for new keys, after
 * silence, or because of a RETRY. */
inline dial(side)
{
	by[inits] = side;
	fromLife[inits] = life[side];
	waits[inits] = 1;
	inits++
}

/* `Node._judge` and `Link.invited`, at whom `no` was sent to. */
inline judge(side, no)
{
	if
#ifndef BROKEN_FRESH
	:: seen[no] || no < freshest[side]
#endif
	:: else ->
		seen[no] = 1;
		freshest[side] = no + 1;
		if
		:: side == 0 -> withdraw(0)
		:: else	/* it answers once its own INITs evidently do not get through */
		fi;
		answers[keys] = no;
		ofLife[keys] = life[side];
		slot[at(side, keys)] = HALF;
		born[at(side, keys)] = now;
		keys++;
#ifdef BROKEN_CONFIRM
		establish(side, (keys - 1));
		assert(place[at(1 - side, keys - 1)] != 0)
#endif
	fi
}

/* `Link._respReceived`. */
inline respond(side, key)
{
	if
	:: waits[answers[key]] ->
		waits[answers[key]] = 0;
		born[at(side, key)] = now;
		establish(side, key);
		sent[at(side, key)] = 1
	:: else
	fi
}

/* `Link._dataReceived` at `side`.  What is asserted is said apart from the slots. */
inline open(side, key)
{
	if
	:: slot[at(side, key)] == HALF || slot[at(side, key)] == CURRENT ||
	   slot[at(side, key)] == PREVIOUS ->
		/* Nothing opens that is too old, ... */
		assert(now - born[at(side, key)] < LIFE);
		/* ... that was replaced twice, ... */
		assert(place[at(side, key)] == 0 ||
		       place[at(side, key)] + 1 >= established[side]);
		/* ... or that a peer sent before his restart, once his new life is known. */
		assert(current[side] == NOBODY || slot[at(side, key)] == HALF ||
		       peerLife(side, key) == peerLife(side, current[side]));
		if
		:: slot[at(side, key)] == HALF -> establish(side, key)
		:: else
		fi;
		assert(current[side] != NOBODY || slot[at(side, key)] == PREVIOUS);
		/* An answer goes out under the current keys. */
		if
		:: current[side] != NOBODY -> sent[at(side, current[side])] = 1
		:: else
		fi;
		heard = heard | (2 - side);
		k = 0
	:: else
	fi
}

/* A third of the keys' life goes by. */
inline tick()
{
	now++;
#ifndef BROKEN_DEATH
	i = 0;
	do
	:: i < 2 * ALLKEYS ->
		if
		:: slot[i] != NONE && slot[i] != GONE && now - born[i] >= LIFE ->
			remove(i / ALLKEYS, i % ALLKEYS)
		:: else
		fi;
		i++
	:: else -> break
	od;
	i = 0
#endif
}

/* What is half-open or previous lapses within 15 s. */
inline lapse(side)
{
	k = 0;
	do
	:: k < ALLKEYS ->
		if
		:: slot[at(side, k)] == HALF || slot[at(side, k)] == PREVIOUS ->
			remove(side, k)
		:: else
		fi;
		k++
	:: else -> break
	od;
	k = 0
}

/* A new process of the responder: nothing is known but the static keys. */
inline restart(side)
{
	k = 0;
	do
	:: k < ALLKEYS ->
		if
		:: slot[at(side, k)] != NONE -> remove(side, k)
		:: else
		fi;
		place[at(side, k)] = 0;
		k++
	:: else -> break
	od;
	k = 0;
	withdraw(side);
	i = 0;
	do
	:: i < ALLINITS ->
		if
		:: by[i] != side -> seen[i] = 0
		:: else
		fi;
		i++
	:: else -> break
	od;
	i = 0;
	freshest[side] = 0;
	established[side] = 0;
	life[side] = 1
}

#define anyInit(n) select (n : 0 .. (ALLINITS - 1))
#define anyKey(n) select (n : 0 .. (ALLKEYS - 1))

inline deliverInit()
{
	anyInit(n);
	if
	:: n < inits && by[n] == 0 -> judge(1, n)
	:: n < inits && by[n] == 1 -> judge(0, n)
	:: else
	fi;
	n = 0
}

inline deliverResp()
{
	anyKey(n);
	if
	:: n < keys && by[answers[n]] == 0 -> respond(0, n)
	:: n < keys && by[answers[n]] == 1 -> respond(1, n)
	:: else
	fi;
	n = 0
}

inline deliverData()
{
	anyKey(n);
	if
	:: n < keys && sent[at(0, n)] -> open(1, n)
	:: n < keys && sent[at(1, n)] -> open(0, n)
	:: else
	fi;
	n = 0;
	heard = 0
}

active proctype network()
{
	byte n;
	byte round;

	atomic {
		current[0] = NOBODY; current[1] = NOBODY;
		previous[0] = NOBODY; previous[1] = NOBODY
	};

	/* Bad weather, as long as it likes. */
	do
	:: atomic { inits < INITS -> dial(0) }
#ifdef BOTH
	:: atomic { inits < INITS -> dial(1) }
#endif
	:: atomic { keys < KEYS && inits > 0 -> deliverInit() }
	:: atomic { keys > 0 -> deliverResp() }
	:: atomic { keys > 0 -> deliverData() }
	:: atomic { current[0] != NOBODY -> sent[at(0, current[0])] = 1 }
	:: atomic { current[1] != NOBODY -> sent[at(1, current[1])] = 1 }
	:: atomic { now < TICKS -> tick() }
	:: atomic { lapse(0) }
	:: atomic { lapse(1) }
	:: atomic { !restarts -> restarts = 1; restart(1) }
	:: break
	od;

	/* Good weather: what is sent arrives, and both sides said something. */
	atomic { lapse(0); lapse(1) };
again:	atomic {
		heard = 0;
		if
		:: current[0] != NOBODY ->
			n = current[0]; sent[at(0, n)] = 1; open(1, n); n = 0
		:: else
		fi;
		if
		:: current[1] != NOBODY ->
			n = current[1]; sent[at(1, n)] = 1; open(0, n); n = 0
		:: else
		fi;
		if
		:: heard == 3 -> heard = 0; goto over
		:: else
		fi;
#ifdef BROKEN_REDIAL
		goto over;
#endif
		/* Nothing was heard for 1.5 s: whoever dialled sends an INIT, ... */
		assert(round < SPARE);
		heard = 0;
		dial(0);
		round++
	};
	/* ... and the adversary replays what it has, before and after the answer. */
	do
	:: atomic { deliverResp() }
	:: atomic { deliverData() }
	:: break
	od;
	atomic { n = inits - 1; judge(1, n); n = 0 };
	do
	:: atomic { deliverData() }
	:: atomic { keys < KEYS + round -> deliverInit() }
	:: break
	od;
	atomic { n = keys - 1; respond(0, n); n = 0 };
	goto again;
over:	assert(current[0] != NOBODY && current[0] == current[1])
}
