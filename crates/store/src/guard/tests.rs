use super::*;

const RULES: Rules = Rules { answer: 1000, log_ins: LogIns::ANY, link: Link::Clear };

/// A message of this kind and length, of which only the beginning matters.
fn message(kind: u8, length: u32, content: &[u8]) -> Vec<u8> {
    let mut message = [&[kind], &(length - 1).to_be_bytes()[..], content].concat();
    message.resize(message.len().max(length.min(1 << 16) as usize), 0);
    message
}

fn ready() -> Vec<u8> {
    message(b'Z', 6, b"I")
}

/// Passes the bytes in pieces of this size. Returns the number of bytes before the refusal.
fn scan(bytes: &[u8], piece: usize, rules: &Rules, seen: &Seen) -> Result<(), (usize, Refusal)> {
    let mut scan = Scan::default();
    let mut before = 0;
    for piece in bytes.chunks(piece) {
        scan.check(piece, rules, seen).map_err(|(good, refusal)| (before + good, refusal))?;
        before += piece.len();
    }
    Ok(())
}

/// The result must not depend on the pieces in which the bytes arrive.
fn refusal(messages: &[Vec<u8>], rules: &Rules) -> Option<Refusal> {
    let bytes = messages.concat();
    let result = |piece| scan(&bytes, piece, rules, &Seen::default()).map_err(|(_, refusal)| refusal);
    let whole = result(bytes.len());
    for piece in [1, 2, 3, 5, 7, 100] {
        assert_eq!(result(piece), whole, "in pieces of {piece}");
    }
    whole.err()
}

#[test]
fn long_messages_are_refused_by_their_kind() {
    let unlimited = Rules { answer: u64::MAX, ..RULES };
    let answer = |kind, length| refusal(&[ready(), message(kind, length, &[])], &unlimited);
    let start = |kind, length| refusal(&[message(kind, length, &[])], &unlimited);
    for kind in *b"DdEN" {
        assert_eq!(answer(kind, 2 << 20), None);
        let length = Refusal::Length { kind, length: (2 << 20) + 1, limit: 2 << 20 };
        assert_eq!(answer(kind, (2 << 20) + 1), Some(length));
        assert_eq!(start(kind, 30_000), None);
        assert!(matches!(start(kind, 30_001), Some(Refusal::Length { limit: 30_000, .. })));
    }
    for kind in *b"CSRKZ1x" {
        assert!(matches!(answer(kind, 30_001), Some(Refusal::Length { limit: 30_000, .. })));
    }
    assert!(matches!(start(b'R', u32::MAX), Some(Refusal::Length { length: 0xFFFF_FFFF, .. })));
    assert!(matches!(start(b'R', 4), Some(Refusal::Length { length: 4, .. })));
}

#[test]
fn response_is_limited_from_ready_to_ready() {
    let row = || message(b'D', 100, &[]);
    let rows = |count| vec![row(); count];
    assert_eq!(refusal(&[vec![ready()], rows(9), vec![ready()], rows(10)].concat(), &RULES), None);
    assert_eq!(refusal(&[vec![ready()], rows(11)].concat(), &RULES), Some(Refusal::Answer(1000)));
    let notices = vec![message(b'N', 8000, &[]); 9];
    assert_eq!(refusal(&notices, &RULES), Some(Refusal::Answer(64 << 10)));
    let settings = [vec![ready()], vec![message(b'S', 8000, &[]); 9]].concat();
    let unlimited = Rules { answer: u64::MAX, ..RULES };
    assert_eq!(refusal(&settings, &unlimited), Some(Refusal::Settings));
}

#[test]
fn messages_before_a_refused_one_are_passed_on() {
    let bytes = [message(b'E', 50, &[]), message(b'D', 40_000, &[])].concat();
    for piece in [1, 3, 49, 50, 52, 55, 60, bytes.len()] {
        let (before, _) = scan(&bytes, piece, &RULES, &Seen::default()).unwrap_err();
        // A piece that ends inside of the head was passed on, and is not a whole message.
        assert!((50..55).contains(&before), "{before} with pieces of {piece}");
    }
}

#[test]
fn log_ins_are_refused_before_an_answer() {
    let asks = |code: i32, log_ins: &str, link| {
        let rules = Rules { log_ins: log_ins.parse().unwrap(), link, ..RULES };
        refusal(&[message(b'R', 9, &code.to_be_bytes())], &rules)
    };
    let any = "!gss";
    for (link, refused) in [
        (Link::Clear, Some(Refusal::ClearText(Link::Clear))),
        (Link::Unverified, Some(Refusal::ClearText(Link::Unverified))),
        (Link::Verified, None),
    ] {
        assert_eq!(asks(3, any, link), refused);
        assert_eq!(asks(0, any, link), None);
        assert_eq!(asks(5, any, link), None);
        assert_eq!(asks(10, any, link), None);
        assert_eq!(asks(0, "scram-sha-256", link), Some(Refusal::LogIn(Method::None)));
        assert_eq!(asks(3, "scram-sha-256", link), Some(Refusal::LogIn(Method::Password)));
        assert_eq!(asks(5, "!md5", link), Some(Refusal::LogIn(Method::Md5)));
        assert_eq!(asks(10, "password", link), Some(Refusal::LogIn(Method::Scram)));
    }
    // Success after a log-in does not count as a second log-in.
    let rules = Rules { log_ins: "scram-sha-256".parse().unwrap(), ..RULES };
    let messages = [10_i32, 11, 12, 0].map(|code| message(b'R', 9, &code.to_be_bytes()));
    assert_eq!(refusal(&messages, &rules), None);
}

#[test]
fn key_of_the_session_is_recorded() {
    let bytes = [message(b'K', 13, &[0, 0, 1, 2, 9, 8, 7, 6]), ready()].concat();
    for piece in [1, 4, 6, 12, 100] {
        let seen = Seen::default();
        scan(&bytes, piece, &RULES, &seen).unwrap();
        assert_eq!((seen.process_id(), seen.key.get()), (Some(258), Some(&[0, 0, 1, 2, 9, 8, 7, 6])));
    }
}
