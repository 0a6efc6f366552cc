use proptest::prelude::*;
use serde_json::json;

use super::*;

/// The opcodes that take no text.
const OPCODES: &[u8] = b"N(])}tasue.RbQqhj\x85\x86\x87\x88KJ";

fn parse(bytes: &[u8]) -> Result<Document> {
    read(&mut &bytes[..])
}

fn message(bytes: &[u8]) -> String {
    parse(bytes).unwrap_err().to_string()
}

#[test]
fn plain_data_survives_with_its_types() {
    let value = json!({
        "whole": [0, -1, 255, 65536, -2_147_483_649_i64, i64::MAX],
        "float": [1.0, -0.5, 1e300],
        "text": ["", "ä🐋", "line\nbreak"],
        "nested": { "none": null, "yes": true, "no": false, "empty": [] , "nothing": {} },
    });
    let mut writer = Writer::default();
    writer.value(&value);
    let document = parse(&writer.finish()).unwrap();
    assert_eq!(document.json(document.root(), "x").unwrap(), value);
}

#[test]
fn a_written_tensor_is_read_as_the_whole_of_its_storage() {
    let mut writer = Writer::default();
    writer.tensor("7", Kind::BFloat16, &[2, 3]);
    let document = parse(&writer.finish()).unwrap();
    let Value::Tensor(tensor) = document.root() else { panic!("{:?}", document.root()) };
    assert_eq!(*tensor.storage, StorageRef { key: "7".into(), kind: Kind::BFloat16, elements: 6 });
    assert_eq!((tensor.offset, &tensor.shape[..], &tensor.stride[..]), (0, &[2, 3][..], &[3, 1][..]));
}

#[test]
fn a_name_outside_of_the_list_is_refused_by_name_and_never_called() {
    let error = parse(b"\x80\x02cposix\nsystem\nX\x02\x00\x00\x00ls\x85R.").unwrap_err();
    assert!(error.to_string().contains("`posix.system`"), "{error}");
    assert!(error.hint_text().unwrap().contains("run code"));
    for name in ["builtins\neval", "torch\nload", "torch._utils\n_rebuild_tensor_v2.__globals__", "\n"] {
        assert!(
            message(format!("\u{0}c{name}\n.").replace('\u{0}', "").as_bytes()).contains("no part of a checkpoint")
        );
    }
}

#[test]
fn broken_programs_are_refused_with_the_byte() {
    for (bytes, what) in [
        (&b"\x80\x02"[..], "cut short"),
        (b"\x80\x05.", "protocol 5"),
        (b".", "not there"),
        (b"NN.", "left over"),
        (b"(N.", "left over"),
        (b"K\x01(0", "opcode 0x30"),
        (b"h\x05.", "recalls value 5"),
        (b"NNs.", "no dict"),
        (b"Ns.", "not there"),
        (b"}(Nu.", "no value"),
        (b"NNa.", "no list"),
        (b"X\xff\xff\xff\xffabc.", "cut short"),
        (b"X\x01\x00\x00\x00\xff.", "UTF-8"),
        (b"\x8a\x09123456789.", "64 bits"),
        (b"NQ.", "storage"),
        (b"N}b.", "attributes"),
        (b"ccollections\nOrderedDict\nN\x85R.", "calls something"),
    ] {
        let message = message(bytes);
        assert!(message.contains(what) && message.contains("byte "), "{what}: {message}");
    }
}

#[test]
fn a_list_that_holds_itself_and_one_that_doubles_forty_times_are_no_plain_data() {
    let cycle = parse(b"]q\x00h\x00a.").unwrap();
    assert!(cycle.json(cycle.root(), "x").unwrap_err().to_string().contains("nested too deeply"));
    let mut bytes = b"]".to_vec();
    for _ in 0..40 {
        bytes.extend(b"q\x00h\x00\x86");
    }
    bytes.push(b'.');
    let bomb = parse(&bytes).unwrap();
    assert!(bomb.json(bomb.root(), "x").unwrap_err().to_string().contains("too large"));
    let deep = [vec![b'N'], vec![0x85; 300_000], vec![b'.']].concat();
    drop(parse(&deep).unwrap());
}

proptest! {
    #[test]
    fn no_bytes_make_the_machine_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        drop(parse(&bytes));
    }

    #[test]
    fn no_sequence_of_known_opcodes_makes_it_panic(
        opcodes in proptest::collection::vec(prop::sample::select(OPCODES.to_vec()), 0..60)
    ) {
        drop(parse(&opcodes).map(|document| drop(document.json(document.root(), "x"))));
    }
}
