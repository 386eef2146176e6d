//! The file survives what processes do to it.

use super::*;

fn outgoing(text: &str) -> Outgoing {
    Outgoing {
        id: Uuid::now_v7(),
        number: 1,
        trace_id: Uuid::now_v7(),
        events: 3,
        what: What::Batch,
        body: Body::Frame(text.to_owned().into_bytes().into()),
        spooled: false,
        attempts: 0,
    }
}

fn open(path: &Path) -> (Spool, Vec<Outgoing>) {
    Spool::open(path, 1 << 30).unwrap()
}

fn text(spool: &mut Spool, outgoing: &Outgoing) -> String {
    match spool.read(outgoing).unwrap() {
        Body::Frame(frame) => String::from_utf8(frame.to_vec()).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_not_crossed_out_is_there_at_the_next_start_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spool");
    let (mut spool, left) = open(&path);
    assert!(left.is_empty());
    let list: Vec<_> = ["a", "b", "c"].map(outgoing).into();
    list.iter().for_each(|outgoing| assert!(spool.append(outgoing).unwrap()));
    spool.settle(list[1].id).unwrap();
    drop(spool);
    let (mut spool, left) = open(&path);
    let ids: Vec<_> = left.iter().map(|outgoing| (outgoing.id, outgoing.trace_id, outgoing.events)).collect();
    assert_eq!(ids, [(list[0].id, list[0].trace_id, 3), (list[2].id, list[2].trace_id, 3)]);
    assert_eq!(left.iter().map(|outgoing| text(&mut spool, outgoing)).collect::<Vec<_>>(), ["a", "c"]);
    left.iter().for_each(|outgoing| spool.settle(outgoing.id).unwrap());
    assert_eq!(spool.bytes(), MAGIC.len() as u64);
    drop(spool);
    assert!(open(&path).1.is_empty());
}

#[test]
fn a_record_that_a_crash_cut_off_costs_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spool");
    let (mut spool, _) = open(&path);
    let list: Vec<_> = ["first", "second"].map(outgoing).into();
    list.iter().for_each(|outgoing| assert!(spool.append(outgoing).unwrap()));
    let whole = spool.bytes();
    drop(spool);
    let bytes = std::fs::read(&path).unwrap();
    for cut in 1..whole - (MAGIC.len() as u64) {
        std::fs::write(&path, &bytes[..bytes.len() - cut as usize]).unwrap();
        let (mut spool, left) = open(&path);
        assert!(left.len() < 2);
        let more = outgoing("more");
        assert!(spool.append(&more).unwrap());
        drop(spool);
        let (mut spool, again) = open(&path);
        assert_eq!(again.len(), left.len() + 1);
        assert_eq!(text(&mut spool, again.last().unwrap()), "more");
    }
}

#[test]
fn a_damaged_byte_costs_its_own_record_and_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spool");
    let (mut spool, _) = open(&path);
    let list: Vec<_> = ["first", "second", "third"].map(outgoing).into();
    let mut ends = vec![MAGIC.len()];
    for outgoing in &list {
        assert!(spool.append(outgoing).unwrap());
        ends.push(spool.bytes() as usize);
    }
    drop(spool);
    let whole = std::fs::read(&path).unwrap();
    for damaged in MAGIC.len()..whole.len() {
        for change in [0x01, 0x80] {
            let mut bytes = whole.clone();
            bytes[damaged] ^= change;
            std::fs::write(&path, &bytes).unwrap();
            let (mut spool, left) = open(&path);
            let own = ends.iter().rposition(|end| damaged >= *end).unwrap();
            // At the end nobody can tell a damaged length from a record that was cut off.
            let (last, length) = (own == 2, (1..5).contains(&(damaged - ends[own])) || damaged == ends[own]);
            let lost = spool.damaged_events();
            assert!(lost >= 1 || (last && length), "byte {damaged}: {lost}");
            let others: Vec<_> =
                ["first", "second", "third"].into_iter().enumerate().filter(|(i, _)| *i != own).collect();
            let texts: Vec<_> = left.iter().map(|outgoing| text(&mut spool, outgoing)).collect();
            assert_eq!(texts, others.into_iter().map(|(_, text)| text).collect::<Vec<_>>(), "byte {damaged}");
            drop(spool);
            let (spool, again) = open(&path);
            assert_eq!((again.len(), spool.damaged_events()), (2, 0), "byte {damaged}");
        }
    }
}

#[test]
fn a_full_spool_takes_no_more_until_something_is_crossed_out() {
    let folder = tempfile::tempdir().unwrap();
    let (mut spool, _) = Spool::open(&folder.path().join("spool"), 10_000).unwrap();
    let large = "x".repeat(3_000);
    let list: Vec<_> = (0..4).map(|_| outgoing(&large)).collect();
    let taken: Vec<_> = list.iter().map(|outgoing| spool.append(outgoing).unwrap()).collect();
    assert_eq!(taken, [true, true, true, false]);
    spool.settle(list[0].id).unwrap();
    assert!(spool.append(&list[3]).unwrap(), "the file was not written anew");
    assert_eq!(text(&mut spool, &list[1]), large);
    assert_eq!(text(&mut spool, &list[3]), large);
}

#[test]
fn two_clients_cannot_share_a_spool_and_other_files_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spool");
    let (_spool, _) = open(&path);
    assert_eq!(Spool::open(&path, 1 << 30).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    let other = folder.path().join("other");
    std::fs::write(&other, "a diary, not a spool").unwrap();
    assert_eq!(Spool::open(&other, 1 << 30).unwrap_err().kind(), io::ErrorKind::InvalidData);
    assert_eq!(std::fs::read_to_string(&other).unwrap(), "a diary, not a spool");
}
