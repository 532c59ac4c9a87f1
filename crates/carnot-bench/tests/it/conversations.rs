//! Conversations: what each turn asks, and when it is due.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use carnot_bench::load::{Arrivals, Endpoint, Load, Raw, Shape, asks, put};
use serde_json::{Value, json};

use super::{load, reading_server};

const TURNS: usize = 3;

/// A load of conversations on a server that answers each request with two pieces, unless it is `refused`; and what that server was asked.
fn conversations(arrivals: Arrivals, refused: fn(usize) -> bool) -> (Load, Arc<Mutex<Vec<Value>>>) {
    let asked = Arc::<Mutex<Vec<Value>>>::default();
    let seen = Arc::clone(&asked);
    let address = reading_server(move |index, body| {
        seen.lock().unwrap().push(body);
        if refused(index) { Err(503) } else { Ok(2) }
    });
    let shape = Shape {
        words: 6,
        shared: 2,
        tokens: 2,
        spread: 0.0,
        turns: TURNS,
    };
    let load = Load {
        asks: asks(100, shape, 1),
        ..load(address, arrivals, Duration::from_millis(300))
    };
    (load, asked)
}

#[test]
fn each_turn_says_all_that_was_said_before_and_more() {
    let (load, asked) = conversations(Arrivals::Closed { clients: 1 }, |_| false);
    let run = put(&load, |_| ()).unwrap();
    let turns: Vec<u32> = run.answers.iter().map(|answer| answer.turn).collect();
    assert_eq!(turns.len() % TURNS, 0, "conversations are led to their end");
    assert!(
        turns.chunks(TURNS).all(|turns| turns == [1, 2, 3]),
        "{turns:?}"
    );
    // The first request is not counted.
    let asked = asked.lock().unwrap();
    let prompts: Vec<&str> = asked[1..=TURNS]
        .iter()
        .map(|body| body["prompt"].as_str().unwrap())
        .collect();
    assert_eq!(prompts[0], &*load.asks[0].prompt);
    for (turn, next) in load.asks[0].later.iter().enumerate() {
        assert_eq!(prompts[turn + 1], format!("{}xx\n{next}", prompts[turn]));
    }
}

#[test]
fn chats_are_messages_of_both_in_turns() {
    let (mut load, asked) = conversations(Arrivals::Closed { clients: 1 }, |_| false);
    load.target.endpoint = Endpoint::Chat;
    put(&load, |_| ()).unwrap();
    let ask = &load.asks[0];
    let expected = json!([
        { "role": "user", "content": &*ask.prompt },
        { "role": "assistant", "content": "xx" },
        { "role": "user", "content": &*ask.later[0] },
        { "role": "assistant", "content": "xx" },
        { "role": "user", "content": &*ask.later[1] },
    ]);
    assert_eq!(asked.lock().unwrap()[TURNS]["messages"], expected);
}

#[test]
fn a_turn_is_due_when_the_one_before_is_answered_and_thought_over() {
    let (mut load, _) = conversations(Arrivals::Constant { rate: 20.0 }, |_| false);
    load.think = Duration::from_millis(30);
    // One alone, so that the turns are those of one conversation.
    load.duration = Duration::from_millis(1);
    let run = put(&load, |_| ()).unwrap();
    assert_eq!(run.answers.len(), TURNS);
    for pair in run.answers.windows(2) {
        assert_eq!(pair[1].due, pair[0].ended + load.think);
        assert!(pair[1].sent >= pair[1].due, "nobody asks before it is due");
    }
    let turns: Vec<u32> = Raw::of(&run).iter().map(|request| request.turn).collect();
    assert_eq!(turns, [1, 2, 3]);
}

#[test]
fn a_turn_that_fails_ends_its_conversation() {
    // The first request is not counted; of each conversation the second turn is refused.
    let (load, _) = conversations(Arrivals::Closed { clients: 1 }, |index| {
        index > 0 && index % 2 == 0
    });
    let run = put(&load, |_| ()).unwrap();
    for pair in run.answers.chunks(2) {
        assert_eq!([pair[0].turn, pair[1].turn], [1, 2]);
        assert!(pair[0].outcome.is_ok() && pair[1].outcome.is_err());
    }
}
