//! A living process, its host's agent, and the deaths of either.

use super::*;
use crate::recorder::{Agent, AgentError, AgentSink, Sink, SinkError};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

const EVERY: Duration = Duration::from_millis(1);

fn open(dir: &Path, sink: &MemorySink) -> Agent {
    Agent::open(dir, Box::new(sink.clone()), EVERY, |stage: &str| stage != "forbidden").expect("an agent")
}

/// Turns the agent until a report comes.
fn report(agent: &mut Agent, sink: &mut AgentSink) -> (u64, Result<(), SinkError>) {
    let mut reports = Vec::new();
    until("a report", || {
        agent.turn(Duration::ZERO);
        reports.extend(sink.poll(Duration::ZERO));
        !reports.is_empty()
    });
    reports.remove(0)
}

fn letter(stage: &str) -> (Vec<u8>, Vec<u8>) {
    let mut bench = Bench::new(Config { stage: stage.to_owned(), ..config() });
    bench.stepper.beat();
    bench.sink.stored().remove(0)
}

#[test]
fn a_message_is_confirmed_when_the_agents_sink_has_it_and_not_before() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = MemorySink::new();
    let mut agent = open(dir.path(), &store);
    let mut sink = AgentSink::new(dir.path());
    let (key, payload) = letter("producer");
    store.set(Behaviour::Hold);
    sink.send(&key, &payload, 1).expect("taken");
    for _ in 0..20 {
        agent.turn(EVERY);
    }
    assert_eq!(sink.poll(Duration::ZERO), [], "taken is not stored");
    store.script([Behaviour::Store, Behaviour::Fail, Behaviour::Refuse]);
    let mut tell = |token| {
        sink.send(&key, &payload, token).expect("taken");
        report(&mut agent, &mut sink)
    };
    assert_eq!(tell(2), (2, Ok(())));
    assert_eq!(tell(3), (3, Err(SinkError::NotStored("scripted".to_owned()))));
    assert_eq!(tell(4), (4, Err(SinkError::Full)));
    assert_eq!(store.stored(), [(key.clone(), payload.clone())]);
    drop(agent);
    let ended = sink.poll(Duration::from_secs(5));
    assert!(matches!(&ended[..], [(1, Err(SinkError::NotStored(_)))]), "what was under way is repeated: {ended:?}");
    assert!(matches!(sink.send(&key, &payload, 5), Err(SinkError::NotStored(_))), "nobody is there");
    assert_eq!(sink.poll(Duration::ZERO), []);
    // Another agent, and the same sink.
    let mut agent = open(dir.path(), &store);
    store.reset();
    until("it connects again", || sink.send(&key, &payload, 6).is_ok());
    assert_eq!(report(&mut agent, &mut sink), (6, Ok(())));
}

#[test]
fn what_is_no_audit_message_of_an_allowed_stage_is_not_relayed() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = MemorySink::new();
    let mut agent = open(dir.path(), &store);
    let mut sink = AgentSink::new(dir.path());
    let (key, payload) = letter("forbidden");
    for (key, payload) in [(&key[..], &payload[..]), (b"another", &payload), (&key, b"{}")] {
        sink.send(key, payload, 1).expect("taken");
        assert!(matches!(report(&mut agent, &mut sink), (1, Err(SinkError::NotStored(_)))));
    }
    assert!(store.stored().is_empty());
    assert_eq!(agent.stats().refused, 3);
}

#[test]
fn garbage_ends_its_connection_and_nothing_else() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut agent = open(dir.path(), &MemorySink::new());
    let mut sink = AgentSink::new(dir.path());
    let (key, payload) = letter("producer");
    for garbage in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], b"CHAPAGT\x02", b"CHAPAGT\x01\xff\xff\xff\xff", b"CHAPAGT\x01\0\0\0\x0a\x02"]
    {
        let mut stream = UnixStream::connect(dir.path().join("agent.sock")).expect("connected");
        stream.write_all(garbage).expect("written");
        stream.set_read_timeout(Some(EVERY)).expect("set");
        let mut bytes = [0; 64];
        until("the end", || {
            agent.turn(Duration::ZERO);
            // The end, as a goodbye or with what was not read.
            matches!(stream.read(&mut bytes), Ok(0)) || stream.write(&[0]).is_err()
        });
    }
    sink.send(&key, &payload, 1).expect("taken");
    assert_eq!(report(&mut agent, &mut sink), (1, Ok(())));
    assert_eq!((agent.stats().rejected, agent.stats().connected), (4, 1));
}

#[test]
fn a_false_agent_is_given_up() {
    let dir = tempfile::tempdir().expect("a directory");
    let listener = std::os::unix::net::UnixListener::bind(dir.path().join("agent.sock")).expect("bound");
    let mut sink = AgentSink::new(dir.path());
    let (key, payload) = letter("producer");
    sink.send(&key, &payload, 1).expect("taken");
    let (mut stream, _) = listener.accept().expect("connected");
    stream.write_all(b"CHAPAGT\x01\0\0\0\x0a\x02\0\0\0\0\0\0\0\x63\0\0\0\0\x01").expect("written");
    let reports = sink.poll(Duration::from_secs(5));
    assert!(
        matches!(&reports[..], [(1, Err(SinkError::NotStored(_)))]),
        "a token that nobody gave, then no frame: {reports:?}"
    );
    // One that never reads: the queue is bounded.
    let big = vec![b'x'; 800_000];
    until("it refuses", || sink.send(&key, &big, 2) == Err(SinkError::Full));
}

#[test]
fn one_agent_serves_a_directory_that_is_its_users_own() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempfile::tempdir().expect("a directory");
    let dir = parent.path().join("host");
    let agent = open(&dir, &MemorySink::new());
    let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(&dir), mode(&dir.join("agent.sock"))), (0o700, 0o600));
    let again = || Agent::open(&dir, Box::new(MemorySink::new()), EVERY, |_: &str| true);
    assert!(matches!(again(), Err(AgentError::InUse { .. })));
    agent.close(Duration::ZERO);
    assert!(!dir.join("agent.sock").exists());
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o777)).expect("set");
    assert!(matches!(again(), Err(AgentError::Open { .. })));
}

/// A recorder that sends through the agent.
fn recorder(dir: &Path, clock: &Arc<ManualClock>) -> (Recorder, Stepper) {
    let app = dir.join("app");
    std::fs::create_dir_all(&app).expect("made");
    let config = Config { data_dir: Some(app.clone()), slots: Slots::Dir(app), max_slots: 64, ..config() };
    Recorder::stepped(config, Box::new(AgentSink::new(dir)), Arc::clone(clock) as _).expect("started")
}

#[test]
fn a_process_says_goodbye_through_the_agent() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = MemorySink::new();
    let mut agent = open(dir.path(), &store);
    let (recorder, stepper) = recorder(dir.path(), &Arc::new(ManualClock::new(T0)));
    recorder.seen(&message("t", b"a", T0));
    let closing = std::thread::spawn(move || stepper.close(Duration::from_secs(10)));
    until("it is closed", || {
        agent.turn(EVERY);
        closing.is_finished()
    });
    assert_eq!(closing.join().expect("closed"), Closed::default());
    let messages = store.messages();
    assert_eq!(messages.last().and_then(|m| m.end), Some(crate::wire::End::Clean));
    assert_eq!(Collector::of(&messages).n(), 1);
}

/// Recorder and agent die in turn, each with things under way; what is stored at last. `behaviour`: that of the first
/// agents' sink.
fn deaths(behaviour: Behaviour) -> (Vec<AuditMessage>, u64) {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, clock) = (MemorySink::new(), Arc::new(ManualClock::new(T0)));
    let mut counted = 0;
    for round in 0..6 {
        store.set(behaviour);
        let mut agent = open(dir.path(), &store);
        let (recorder, mut stepper) = recorder(dir.path(), &clock);
        for step in 0..8 {
            recorder.seen(&message("t", b"a", crate::Clock::now_ms(&*clock)));
            counted += 1;
            clock.advance(9_000);
            stepper.beat();
            agent.turn(Duration::ZERO);
            agent.turn(Duration::ZERO);
            if step == round {
                drop(agent);
                agent = open(dir.path(), &store);
            }
        }
        // Sometimes the agent outlives the process, sometimes not.
        if round % 2 == 0 {
            drop(stepper);
            agent.turn(Duration::ZERO);
        }
    }
    store.reset();
    let mut agent = open(dir.path(), &store);
    until("nothing is left of the dead", || {
        agent.turn(EVERY);
        crate::recorder::survey(&dir.path().join("app")).is_ok_and(|s| s.accounts.is_empty())
    });
    (store.messages(), counted)
}

#[test]
fn agents_and_recorders_die_and_every_message_is_counted_once() {
    for behaviour in [Behaviour::Store, Behaviour::Hold, Behaviour::StoreAndFail, Behaviour::Refuse] {
        let (messages, counted) = deaths(behaviour);
        let collector = Collector::of(&messages);
        assert_eq!((collector.n(), collector.divergent), (counted, 0), "{behaviour:?}");
        assert!(collector.states().all(|s| s.is_final), "{behaviour:?}");
    }
    let (messages, counted) = deaths(Behaviour::Lose);
    assert!(Collector::of(&messages).n() < counted, "the control: an agent that confirms what Kafka has not");
}
