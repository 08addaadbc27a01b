//! `.npy` and `.npz` files: those that NumPy writes, hostile ones, and randomly damaged ones.

#![allow(missing_docs, clippy::indexing_slicing, clippy::unwrap_used)]

use std::io::{self, Cursor, Read, Seek, SeekFrom};

use crate::common::numpy;
use mapcall_array::DType;
use mapcall_array::dtype::DTypeError;
use mapcall_array::format::npz::Archive;
use mapcall_array::format::{Format, FormatError, Header, Placement, locate, members};
use mapcall_array::layout::{LayoutError, Order};
use mapcall_array::literal::Value;
use proptest::prelude::*;
use proptest::sample::select;

/// Returns the bytes that a Python expression writes to the file `f`.
fn written(expression: &str) -> Result<Vec<u8>, String> {
    let hex = numpy(&format!(
        "(lambda f: ({expression}, f.getvalue().hex())[1])(__import__('io').BytesIO())"
    ))?;
    let digits = hex.as_str().unwrap().as_bytes();
    Ok(digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect())
}

fn find(bytes: &[u8], member: Option<&str>) -> Result<Placement, FormatError> {
    let found = locate(&mut Cursor::new(bytes), member);
    listed_as_found(bytes, member, &found);
    found
}

/// Checks that a member is the same in the list of all members as if it is located alone.
fn listed_as_found(bytes: &[u8], member: Option<&str>, found: &Result<Placement, FormatError>) {
    if Format::of(bytes) != Some(Format::Npz) {
        return;
    }
    let (Some(name), Ok(members)) = (member, members(&mut Cursor::new(bytes))) else {
        return;
    };
    // The list has `x.npy` as `x`, unless the archive has an `x.npy.npy`.
    if name.strip_suffix(".npy").is_some() {
        return;
    }
    let listed: Vec<_> = members.iter().filter(|each| each.name == name).collect();
    // Members `x` and `x.npy` have the same name in the list.
    if let [only] = listed[..] {
        let listed = format!("{:?}", only.placement);
        assert_eq!(listed, format!("{found:?}"), "{name}");
    }
}

#[test]
fn all_members_in_their_order() {
    let bytes = written("np.savez(f, b=np.arange(3), a=np.zeros((2, 5), 'f4'))").unwrap();
    let members = members(&mut Cursor::new(&bytes)).unwrap();
    let members: Vec<_> = members
        .iter()
        .map(|member| {
            let placement = member.placement.as_ref().unwrap();
            (&*member.name, placement.header().shape())
        })
        .collect();
    assert_eq!(members, [("b", &[3][..]), ("a", &[2, 5])]);

    let bytes = written("np.savez_compressed(f, a=np.arange(3))").unwrap();
    let error = self::members(&mut Cursor::new(&bytes))
        .unwrap()
        .remove(0)
        .placement;
    assert!(matches!(error, Err(FormatError::Compressed { .. })));
}

#[test]
fn a_large_archive_is_read_once() {
    let script = "(lambda z: [z.writestr(f'm{i}.npy', b'x' * (i % 7)) for i in range(20_000)] \
                  and z.close())(__import__('zipfile').ZipFile(f, 'w'))";
    let bytes = written(&script.replace("\\\n", " ")).unwrap();
    let mut file = Counting {
        inner: Cursor::new(&bytes),
        bytes: 0,
    };
    let members = members(&mut file).unwrap();
    assert_eq!(members.len(), 20_000);
    assert!(
        members
            .iter()
            .all(|member| matches!(&member.placement, Err(FormatError::Member { .. })))
    );
    // Reads the directory, and of each member the local header and the beginning.
    assert!(
        file.bytes < 3 * bytes.len() + 20_000 * 200,
        "{}",
        file.bytes
    );
}

/// A file that counts the bytes read from it.
struct Counting<R> {
    inner: R,
    bytes: usize,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes += read;
        Ok(read)
    }
}

impl<R: Seek> Seek for Counting<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

/// Returns version, shape, order, dtype and offset of the data that NumPy reads from a header, with sub-arrays
/// as axes.
fn numpy_reads(bytes: &[u8]) -> Result<serde_json::Value, String> {
    const READ: &str = r"
def read(bytes):
    import io
    from numpy.lib import _format_impl
    file = io.BytesIO(bytes)
    version = _format_impl.read_magic(file)
    shape, order, dtype = _format_impl._read_array_header(file, version, 1 << 30)
    while dtype.subdtype:
        shape += dtype.shape
        dtype = dtype.base
    # `numpy.load` takes the header, and makes no array of it.
    assert bool not in map(type, shape)
    return version, shape, order, repr(_format_impl.dtype_to_descr(dtype)), file.tell()
";
    let definition = serde_json::Value::from(READ);
    let hex = format!("{bytes:02x?}").replace(['[', ']', ',', ' '], "");
    numpy(&format!(
        "(exec({definition}, globals()), read(bytes.fromhex('{hex}')))[1]"
    ))
}

/// Returns the same facts as read by this crate.
fn we_read(header: &Header) -> serde_json::Value {
    serde_json::json!([
        [header.version().0, header.version().1],
        header.shape(),
        header.order() == Order::F,
        header.dtype().to_descr().unwrap(),
        header.data_offset(),
    ])
}

fn scalar() -> impl Strategy<Value = String> {
    const SCALARS: [&str; 22] = [
        "|b1",
        "|i1",
        "<i2",
        ">i4",
        "<i8",
        "|u1",
        ">u2",
        "<u4",
        "<u8",
        "<f2",
        ">f4",
        "<f8",
        "<f16",
        "<c8",
        ">c16",
        "<M8[ns]",
        ">m8[25us]",
        "<M8",
        "|S5",
        "<U3",
        ">U2",
        "|V7",
    ];
    select(&SCALARS[..]).prop_map(|name| format!("'{name}'"))
}

/// Returns the `descr` of a dtype as a Python expression.
fn descr() -> impl Strategy<Value = String> {
    const NAMES: [&str; 9] = [
        "a",
        "it's",
        "say \"x\"",
        "é",
        "ж",
        "\u{200b}",
        "back\\slash",
        "tab\t",
        "two words",
    ];
    scalar().prop_recursive(3, 12, 4, |inner| {
        let shape = select(&["", ", (2,)", ", (2, 3)"][..]);
        prop::collection::vec((select(&NAMES[..]), inner, shape), 1..4).prop_map(|fields| {
            let fields: Vec<String> = fields
                .iter()
                .enumerate()
                .map(|(i, (name, descr, shape))| {
                    format!("({:?}, {descr}{shape})", format!("{name}{i}"))
                })
                .collect();
            // Rust's escapes are the same as Python's, except that of \u.
            format!("[{}]", fields.join(", ")).replace("\\u{200b}", "\\u200b")
        })
    })
}

fn array() -> impl Strategy<Value = (String, Vec<usize>, Order, String)> {
    let shape = prop::collection::vec(0_usize..4, 0..4);
    let order = select(&[Order::C, Order::F][..]);
    (descr(), any::<bool>(), shape, order).prop_map(|(descr, align, shape, order)| {
        let align = if align && descr.starts_with('[') {
            ", align=True"
        } else {
            ""
        };
        let dtype = format!("np.dtype({descr}{align})");
        // All bytes are compared, also those between fields.
        let array = format!(
            "(lambda d: np.ndarray({shape:?}, d, np.resize(np.arange(251, dtype='u1'), \
             27 * d.itemsize), order='{order:?}'))({dtype})"
        );
        (array, shape, order, dtype)
    })
}

fn dtype(expression: &str) -> DType {
    let text = numpy(&format!("repr(np.lib.format.dtype_to_descr({expression}))")).unwrap();
    DType::from_descr(&text.as_str().unwrap().parse().unwrap()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn reads_what_numpy_writes(
        (array, ..) in array(),
        version in select(&["None", "(1, 0)", "(2, 0)", "(3, 0)"][..]),
    ) {
        let file = written(&format!("np.lib.format.write_array(f, {array}, version={version})"));
        // Versions 1.0 and 2.0 can't hold every name.
        prop_assume!(file.is_ok() || version == "(1, 0)" || version == "(2, 0)", "{:?}", file);
        prop_assume!(file.is_ok());
        let file = file.unwrap();

        let placement = find(&file, None).unwrap();
        let header = placement.header();
        prop_assert_eq!(we_read(header), numpy_reads(&file).unwrap());
        prop_assert_eq!(header.end(), file.len() as u64);
        prop_assert_eq!(header.to_bytes().unwrap(), &file[..usize::try_from(placement.offset()).unwrap()]);
        prop_assert_eq!(placement.member(), None);

        // A missing byte is an error, and bytes behind the data are ignored.
        if header.nbytes() > 0 {
            let error = find(&file[..file.len() - 1], None).unwrap_err();
            prop_assert!(matches!(error, FormatError::DataTruncated { .. }), "{}", error);
        }
        prop_assert_eq!(find(&[&file[..], b"more"].concat(), None).unwrap(), placement);
    }

    #[test]
    fn writes_what_numpy_writes((array, shape, order, expression) in array()) {
        let fortran = if order == Order::F { "True" } else { "False" };
        let header = format!(
            "{{'descr': np.lib.format.dtype_to_descr({expression}), 'fortran_order': {fortran}, \
             'shape': {array}.shape}}"
        );
        // The header that `numpy.lib.format.open_memmap` writes.
        let file = written(&format!(
            "__import__('numpy.lib._format_impl', fromlist=['x'])._write_array_header(f, {header})"
        ))
        .unwrap();
        let header = Header::new(dtype(&expression), &shape, order).unwrap();
        let bytes = header.to_bytes().unwrap();
        prop_assert_eq!(bytes.escape_ascii().to_string(), file.escape_ascii().to_string());
        prop_assert_eq!(Header::read(&bytes[..]).unwrap(), header);
    }

    #[test]
    fn long_axes_leave_the_room_that_numpy_leaves(
        first in 2_usize..1 << 40, second in 2_usize..1 << 20, fortran in any::<bool>(),
    ) {
        let (order, name) = if fortran { (Order::F, "True") } else { (Order::C, "False") };
        let file = written(&format!(
            "np.lib.format.write_array_header_1_0(f, {{'descr': '|i1', 'fortran_order': {name}, \
             'shape': ({first}, {second})}})"
        )).unwrap();
        let header = Header::new(DType::I8, &[first, second], order).unwrap();
        prop_assert_eq!(header.to_bytes().unwrap(), file);
    }

    #[test]
    fn finds_the_members_of_numpy_savez(arrays in prop::collection::vec(array(), 1..4)) {
        let list: Vec<&str> = arrays.iter().map(|(array, ..)| array.as_str()).collect();
        let list = list.join(", ");
        let file = written(&format!("np.savez(f, {list})")).unwrap();
        let names: Vec<String> = (0..arrays.len()).map(|i| format!("arr_{i}")).collect();
        let archive = Archive::read(Cursor::new(&file)).unwrap();
        prop_assert!(archive.names().eq(&names));

        for (i, name) in names.iter().enumerate() {
            let alone = written(&format!("np.save(f, [{list}][{i}])")).unwrap();
            let placement = find(&file, Some(name)).unwrap();
            let expected = find(&alone, None).unwrap();
            prop_assert_eq!(placement.header(), expected.header());
            prop_assert_eq!(placement.member(), Some(name.as_str()));
            let data = placement.header().data_offset();
            let start = usize::try_from(placement.offset() - data).unwrap();
            prop_assert_eq!(&file[start..start + alone.len()], &alone);
            prop_assert_eq!(&find(&file, Some(&format!("{name}.npy"))).unwrap(), &placement);
        }
        let alone = find(&file, None);
        prop_assert_eq!(alone.is_ok(), arrays.len() == 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn literals_have_the_same_values_as_in_python(text in literal_text()) {
        let python = literal_eval(&text);
        match (text.parse::<Value>(), python) {
            (Ok(value), Ok(repr)) => prop_assert_eq!(value.to_string(), repr.as_str().unwrap()),
            (Err(error), Ok(repr)) => prop_assert!(false, "{} for {}", error, repr),
            (Ok(value), Err(error)) => prop_assert!(false, "{} for {}", value, error),
            (Err(error), Err(_)) => prop_assert!(error.at <= text.chars().count()),
        }
    }
}

/// Returns the `repr` of the value that Python's `literal_eval` reads from a text.
fn literal_eval(text: &str) -> Result<serde_json::Value, String> {
    let text = serde_json::Value::from(text);
    numpy(&format!("repr(__import__('ast').literal_eval({text}))"))
}

/// A strategy for texts that are literals, or nearly literals.
#[expect(clippy::too_many_lines, reason = "most of it is a list")]
fn literal_text() -> impl Strategy<Value = String> {
    const ATOMS: [&str; 65] = [
        "0",
        "-1",
        "+ 7",
        "12345678901234567890",
        "1.5",
        "00",
        "0_0",
        "01",
        "1_0",
        "1__0",
        "1_",
        "_1",
        "0x1F",
        "0X_f",
        "0x",
        "0xg",
        "0o17",
        "0o8",
        "0b1_01",
        "0b2",
        "1.",
        ".5",
        ".",
        "01.5",
        "1e5",
        "1_0.0_1E-1_0",
        "1e",
        "1._5",
        "1e16",
        "1e-5",
        "1e999",
        "123456789012345678.0",
        "2L",
        "-(2)",
        "+((1.5))",
        "-(-1)",
        "--1",
        "-True",
        "-'a'",
        "1+2",
        "True",
        "None",
        "Nonesuch",
        "true",
        "'a'",
        "\"it's\"",
        "u'\\x41\\n\\'\\q\\101\\400\\0'",
        "U\"\\N{GREEK SMALL LETTER LAMDA}\\N{line feed}\"",
        "'\\N{NO SUCH NAME}'",
        "r'\\x41\\'",
        "R'\\'\\\n'",
        "ur'a'",
        "f'a'",
        "'''a\n'b''c'''",
        "\"\"\"\\\n\"\\\"\"\"\"\"",
        "'''",
        "''",
        "'\\u00e9\\U0001f600' \"ж\"",
        "'\\xg0'",
        "'a\nb'",
        "'a\\\nb'",
        "'a\r\nb'",
        "x",
        "(1)",
        "{}",
    ];
    const BRACKETS: [(&str, &str); 7] = [
        ("(", ")"),
        ("[", "]"),
        ("( ", ",)"),
        ("[", ",]"),
        ("(", "]"),
        ("{1: ", "}"),
        ("{'a' : ", ", }"),
    ];
    const COMMAS: [&str; 9] = [
        ",",
        ", ",
        "\n,",
        " ",
        ", # comment, (\n",
        ",\\\n",
        ",\\ \n",
        ",\r\n\t\x0c",
        ",\u{a0}",
    ];
    const STARTS: [&str; 12] = [
        "",
        "",
        "",
        "",
        " ",
        "\t",
        "\n",
        "# comment\n",
        "\n ",
        "\x0c",
        "\n\x0c",
        "\\\n",
    ];
    const ENDS: [&str; 12] = [
        "",
        "",
        "",
        "",
        " ",
        "\n",
        ")",
        " # comment",
        "\n # comment\n\n",
        "\\\n",
        "\r",
        "\n\0",
    ];
    let atom = select(&ATOMS[..]).prop_map(str::to_owned);
    let bracketed = atom.prop_recursive(4, 24, 4, |inner| {
        (
            prop::collection::vec(inner, 0..4),
            select(&BRACKETS[..]),
            select(&COMMAS[..]),
        )
            .prop_map(|(items, (open, close), comma)| [open, &items.join(comma), close].concat())
    });
    (select(&STARTS[..]), bracketed, select(&ENDS[..]))
        .prop_map(|(start, text, end)| [start, &text, end].concat())
}

#[test]
fn rare_literals_have_the_same_values_as_in_python() {
    const TEXTS: [&str; 54] = [
        "'\\7\\78\\08\\377'",
        "'\\N{LATIN SMALL LETTER A}\\N{CJK UNIFIED IDEOGRAPH-4E00}\\N{HANGUL SYLLABLE GAG}'",
        "'\\N{LATIN_SMALL_LETTER_A}'",
        "'\\N{}'",
        "'\\N'",
        "'\\N{a'",
        "'\\u12'",
        "'\\U00110000'",
        "'a' # b\n 'c'",
        "('a' # b\n 'c')",
        "'a' \\\n 'c'",
        "1\n",
        "1 #",
        "1;",
        "(1,\n\n\n)",
        "(,)",
        "[,]",
        "{1: 2, 3}",
        "{1 2}",
        "{**{}}",
        "(*(),)",
        "0777",
        "00000",
        "0_7",
        "1 .5",
        "1if",
        "1.5.5",
        "1e+",
        "1e+1_0",
        "0b",
        "0b_",
        "0b1__1",
        "1__init__",
        "'a''b'\"c\"",
        "r'a' u'b' '\\x63'",
        "r'\\'",
        "r'\\''",
        "'''\\'''",
        "'\\",
        "'",
        "\\",
        "#",
        "",
        " ",
        "\u{feff}1",
        "１",
        "Ｔrue",
        "True_",
        "(1)(2)",
        "-\n1",
        "(-\n1)",
        "- (\n1\n)",
        "-(1,)",
        "+()",
    ];
    for text in TEXTS {
        let (ours, theirs) = (text.parse::<Value>(), literal_eval(text));
        match (&ours, &theirs) {
            (Ok(value), Ok(repr)) => assert_eq!(value.to_string(), repr.as_str().unwrap()),
            _ => assert!(
                ours.is_err() && theirs.is_err(),
                "{text:?}: {ours:?}, {theirs:?}"
            ),
        }
    }
}

#[test]
fn literals_that_no_header_can_hold_are_refused() {
    for text in [
        "b'a'",
        "2j",
        "1+2j",
        "...",
        "{1}",
        "set()",
        "'\\ud800'",
        "1, 2",
    ] {
        assert!(literal_eval(text).is_ok(), "{text}");
        assert!(text.parse::<Value>().is_err(), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn headers_are_read_as_numpy_reads_them(
        text in header_text(),
        version in select(&[(1, 0), (2, 0), (3, 0)][..]),
    ) {
        let file = npy(version, &text, 0);
        match (Header::read(&file[..]), numpy_reads(&file)) {
            (Ok(header), Ok(theirs)) => prop_assert_eq!(we_read(&header), theirs, "{}", text),
            (Ok(header), Err(error)) => {
                // NumPy refuses negative lengths in dtypes, but not in shapes.
                prop_assert!(false, "{}: {:?}, {}", text, header, error);
            }
            (Err(FormatError::NegativeLength { .. }), Ok(_)) | (Err(_), Err(_)) => {}
            (Err(error), Ok(theirs)) => prop_assert!(false, "{}: {}, {}", text, error, theirs),
        }
    }
}

/// A strategy for texts of headers that another program could write, or nearly so.
fn header_text() -> impl Strategy<Value = String> {
    const DESCRS: [&str; 30] = [
        "'<f8'",
        "'<i4' ",
        "'i4,f4'",
        "'<i4, (2,)<f8'",
        "'3<f4'",
        "'3f4'",
        "'(2, 3)>u2'",
        "('2<f4', (3,))",
        "'2f4,3M8[ns]'",
        "'float32'",
        "u'<i2'",
        "r'<i2'",
        "R'''<i2'''",
        "\"<i2\"",
        "'<' 'i2'",
        "('<' # byte order\n 'i2')",
        "'\\x3ci2'",
        "'\\u003ci\\62'",
        "'\\N{LESS-THAN SIGN}i2'",
        "'<i\\\n2'",
        "b'<i2'",
        "f'<i2'",
        "'<q2'",
        "[('x', '2<i2'), (('t', 'y'), 'i4,f4', 0x2)]",
        "[('x', '<i2', (1_0, 2,))]",
        "[['x', '<i2', 2L]]",
        "[('x', '<i2', True)]",
        "[]",
        "('<i2', 2L)",
        "('<i2', (0b11))",
    ];
    const ORDERS: [&str; 6] = ["False", "True", "(False)", "0", "None", "'C'"];
    const SHAPES: [&str; 29] = [
        "(2,)",
        "()",
        "(2, 3)",
        "(2, 3,)",
        "(0x2,)",
        "(0X_2,)",
        "(0b10, 0o2)",
        "(1_0,)",
        "(1__0,)",
        "(2L,)",
        "(2L, 3 L)",
        "(0x2L,)",
        "(2l,)",
        "(2LL,)",
        "(2\n L,)",
        "(2 \\\n L,)",
        "(+2,)",
        "(-0, - 0)",
        "(-1,)",
        "(True, 3)",
        "(2.0,)",
        "(02,)",
        "(00,)",
        "((2),)",
        "(2)",
        "[2]",
        "2",
        "(1 + 1,)",
        "(2, # rows\n 3, # columns\n)",
    ];
    const COMMAS: [&str; 8] = [
        ", ",
        ",",
        "\n,\t",
        ", # comment\n",
        " ,\\\n",
        ",\r\n",
        ",,",
        " ",
    ];
    const STARTS: [&str; 8] = ["", "", "", " ", "\n", "\n ", "# comment\n", "\x0c"];
    const ENDS: [&str; 9] = [
        "",
        "",
        "    \n",
        " # end\n",
        "\n\n # end",
        "L",
        ";",
        "\\\n",
        ", ",
    ];
    let parts = (
        select(&DESCRS[..]),
        select(&ORDERS[..3]),
        select(&SHAPES[..]),
    );
    // Most of the possible errors occur once at most.
    let order = prop_oneof![9 => Just(None), 1 => select(&ORDERS[..]).prop_map(Some)];
    let around = (select(&STARTS[..]), select(&COMMAS[..]), select(&ENDS[..]));
    (parts, order, around).prop_map(|((descr, order, shape), other, (start, comma, end))| {
        let order = other.unwrap_or(order);
        format!(
            "{start}{{'descr': {descr}{comma}'fortran_order':{order}{comma}'shape' : {shape}}}{end}"
        )
    })
}

#[test]
fn wide_dtypes_take_the_version_that_they_need() {
    for (prefix, version) in [("field", (2, 0)), ("поле", (3, 0))] {
        let dtype_ = format!("np.dtype([(f'{prefix}_{{i}}', '<f8') for i in range(4000)])");
        let file = written(&format!("np.save(f, np.zeros(2, {dtype_}))")).unwrap();
        let header = find(&file, None).unwrap().header().clone();
        assert_eq!(header.version(), version);
        assert_eq!(header, Header::new(dtype(&dtype_), &[2], Order::C).unwrap());
        assert_eq!(
            header.to_bytes().unwrap(),
            &file[..file.len() - 2 * 8 * 4000]
        );
    }
}

#[test]
fn python_2_headers_open() {
    for text in [
        "{'descr': '<i4', 'fortran_order': False, 'shape': (10L,), }",
        "{'descr': [('x', '<f4', (3L,))], 'fortran_order': True, 'shape': (2L, 5L), }",
    ] {
        let file = npy((1, 0), text, 400);
        assert_eq!(
            we_read(find(&file, None).unwrap().header()),
            numpy_reads(&file).unwrap()
        );
    }
}

#[test]
fn oddly_written_headers_open_as_in_numpy() {
    for text in [
        "{'shape':(2,3),'fortran_order':False,'descr':'<f8'}",
        "\t{ \"descr\" : \"<f8\" , 'fortran_order':True, 'shape': ( 2 , 3 , ) }  \n\n",
        "{u'descr': '<' 'f8', 'fortran_order': (False),\n 'shape': ()}",
        "{'descr': [(('title', 'x'), '<i2'), ['y', '|S3'], ('', '|V5')], 'fortran_order': False, 'shape': (4,)}",
        "{'descr': [('\\x41\\u00e9\\102\\n', '<i2')], 'fortran_order': False, 'shape': (0, 7)}",
        "{'descr': [('\u{e9}', '<i2')], 'fortran_order': False, 'shape': (-0,)}",
    ] {
        for version in [(1, 0), (2, 0), (3, 0)] {
            let file = npy(version, text, 100);
            assert_eq!(
                we_read(find(&file, None).unwrap().header()),
                numpy_reads(&file).unwrap()
            );
        }
    }
}

#[test]
fn a_name_that_its_version_cannot_hold_is_an_error() {
    let file = with_descr("[('\\u0436', '<f8')]");
    let header = find(&file, None).unwrap().header().clone();
    let error = header.to_bytes().unwrap_err();
    assert!(
        matches!(
            error,
            FormatError::NotLatin1 {
                found: 'ж',
                major: 1,
                minor: 0
            }
        ),
        "{error}"
    );
    let again = Header::new(header.dtype().clone(), header.shape(), header.order()).unwrap();
    assert_eq!(again.version(), (3, 0));
}

/// Returns a `.npy` file with this text as its header and `data` bytes behind it.
fn npy(version: (u8, u8), text: &str, data: usize) -> Vec<u8> {
    let latin1 = || {
        text.chars()
            .map(|c| u8::try_from(u32::from(c)).unwrap())
            .collect()
    };
    let text: Vec<u8> = if version.0 == 3 {
        text.into()
    } else {
        latin1()
    };
    let mut file = [&b"\x93NUMPY"[..], &[version.0, version.1]].concat();
    let len = u32::try_from(text.len()).unwrap().to_le_bytes();
    file.extend(&len[..if version.0 == 1 { 2 } else { 4 }]);
    file.extend(text);
    file.resize(file.len() + data, 0);
    file
}

fn with_shape(shape: &str) -> Vec<u8> {
    npy(
        (1, 0),
        &format!("{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}"),
        64,
    )
}

fn with_descr(descr: &str) -> Vec<u8> {
    npy(
        (1, 0),
        &format!("{{'descr': {descr}, 'fortran_order': False, 'shape': (1,), }}"),
        64,
    )
}

/// Cases of a file, the expected error, and parts of its message.
macro_rules! hostile {
    ($($name:ident: $file:expr, $member:expr => $error:pat $(if $guard:expr)?, $said:expr;)*) => {$(
        #[test]
        fn $name() {
            let file: Vec<u8> = $file;
            let error = find(&file, $member).unwrap_err();
            assert!(matches!(&error, $error $(if $guard)?), "{error:?}");
            let message = error.to_string();
            for said in $said {
                assert!(message.contains(said), "no {said:?} in: {message}");
            }
            assert!(message.len() < 1000, "{message}");
        }
    )*};
}

mod zip;

hostile! {
    empty_file: vec![], None =>
        FormatError::UnknownFormat { found } if found.is_empty(), ["\\x93NUMPY", "an empty file"];
    another_format: b"\x89HDF\r\n\x1a\n0123".to_vec(), None =>
        FormatError::UnknownFormat { .. }, ["\\x89HDF\\r\\n", "dtype and shape"];
    ends_in_magic: b"\x93NUM".to_vec(), None =>
        FormatError::Truncated { needed: 8, have: 4 }, ["8 bytes", "only 4", "cut short"];
    ends_in_length: b"\x93NUMPY\x02\x00\x10\x00".to_vec(), None =>
        FormatError::Truncated { needed: 12, have: 10 }, ["12 bytes"];
    ends_in_header: with_shape("(3,)")[..40].to_vec(), None =>
        FormatError::Truncated { have: 40, .. }, ["only 40"];
    length_beyond_the_file: b"\x93NUMPY\x01\x00\xff\xff{}".to_vec(), None =>
        FormatError::Truncated { needed: 65545, have: 12 }, ["65545"];
    absurd_length: b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}".to_vec(), None =>
        FormatError::HeaderTooLong { len: 4_294_967_295, .. }, ["at most 1048576", "fewer or shorter"];
    version_0: npy((0, 0), "{}", 0), None =>
        FormatError::UnknownVersion { major: 0, minor: 0 }, ["got 0.0", "numpy.save"];
    version_1_1: npy((1, 1), "{}", 0), None =>
        FormatError::UnknownVersion { major: 1, minor: 1 }, ["got 1.1"];
    version_4: npy((4, 0), "{}", 0), None =>
        FormatError::UnknownVersion { major: 4, minor: 0 }, ["1.0, 2.0 or 3.0"];
    not_utf8: [&b"\x93NUMPY\x03\x00\x04\x00\x00\x00"[..], b"{'\xff}"].concat(), None =>
        FormatError::NotUtf8 { at: 2 }, ["UTF-8", "byte 2"];
    empty_header: npy((1, 0), "", 0), None =>
        FormatError::Literal(_), ["expected a literal at character 0, found the end"];
    code: npy((1, 0), "__import__('os').system('true')", 0), None =>
        FormatError::Literal(_), ["never run", "character 0", "__import__"];
    code_in_shape: with_shape("(exit(),)"), None =>
        FormatError::Literal(_), ["expected a literal at character 51", "exit()"];
    arithmetic: with_shape("(2*3,)"), None =>
        FormatError::Literal(_), ["expected a comma or the closing bracket", "*3"];
    comprehension: with_shape("[x for x in y]"), None => FormatError::Literal(_), ["x for x"];
    open_string: npy((1, 0), "{'descr", 0), None => FormatError::Literal(_), ["closing quote"];
    surrogate: with_descr("[('\\ud800', '<f8')]"), None => FormatError::Literal(_), ["escape"];
    octal: with_shape("(010,)"), None => FormatError::Literal(_), ["a number", "010"];
    rubbish_behind: npy((1, 0), "{'shape': ()} + 1", 0), None =>
        FormatError::Literal(_), ["expected the end at character 14", "+ 1"];
    huge_integer: with_shape(&format!("({},)", "9".repeat(5000))), None =>
        FormatError::Literal(_), ["less than 128 bits"];
    deep_brackets: npy((2, 0), &"[".repeat(900_000), 0), None =>
        FormatError::Literal(_), ["at most 200 nested brackets at character 200"];
    deep_dicts: npy((2, 0), &"{1:".repeat(300_000), 0), None =>
        FormatError::Literal(_), ["nested brackets"];
    deep_dtype: with_descr(&format!("{}'<f8'{}", "[('x', ".repeat(70), ",)]".repeat(70))), None =>
        FormatError::DType(_), ["deep"];
    list: npy((1, 0), "['descr']", 0), None => FormatError::NotADict { .. }, ["a dict", "['descr']"];
    long_string: npy((1, 0), &format!("'{}'", "x".repeat(5000)), 0), None =>
        FormatError::NotADict { .. }, ["xxx..."];
    no_descr: npy((1, 0), "{'fortran_order': False, 'shape': ()}", 0), None =>
        FormatError::MissingKey { key: "descr" }, ["'descr'", "numpy.save"];
    no_order: npy((1, 0), "{'descr': '<f8', 'shape': ()}", 0), None =>
        FormatError::MissingKey { key: "fortran_order" }, ["'fortran_order'"];
    no_shape: npy((1, 0), "{'descr': '<f8', 'fortran_order': False}", 0), None =>
        FormatError::MissingKey { key: "shape" }, ["'shape'"];
    two_shapes: npy((1, 0), "{'shape': (), 'shape': (2,)}", 0), None =>
        FormatError::DuplicateKey { .. }, ["'shape'", "twice"];
    unknown_key: npy((1, 0), "{'descr': '<f8', 'fortran_order': False, 'shape': (), 'x': 1}", 0), None =>
        FormatError::UnexpectedKey { .. }, ["'x'", "only 'descr'"];
    key_of_another_type: npy((1, 0), "{1: 2}", 0), None =>
        FormatError::UnexpectedKey { .. }, ["key 1"];
    order_as_number: npy((1, 0), "{'descr': '<f8', 'fortran_order': 1, 'shape': ()}", 8), None =>
        FormatError::BadOrder { .. }, ["True or False", "is 1"];
    shape_as_list: with_shape("[1]"), None => FormatError::BadShape { .. }, ["tuple of integers", "[1]"];
    shape_as_integer: with_shape("(3)"), None => FormatError::BadShape { .. }, ["is 3"];
    shape_of_floats: with_shape("(3.0,)"), None => FormatError::BadShape { .. }, ["(3.0,)"];
    shape_of_bools: with_shape("(True,)"), None => FormatError::BadShape { .. }, ["(True,)"];
    negative_length: with_shape("(2, -1)"), None =>
        FormatError::NegativeLength { axis: 1, length: -1 }, ["axis 1", "-1"];
    huge_length: with_shape("(18446744073709551616,)"), None =>
        FormatError::HugeLength { axis: 0, .. }, ["18446744073709551616"];
    shape_overflow: with_shape("(4294967296, 4294967296)"), None =>
        FormatError::Layout(error) if matches!(**error, LayoutError::TooBig { .. }), ["(4294967296, 4294967296)", "too big"];
    shape_overflow_behind_zero: with_shape("(0, 4294967296, 4294967296)"), None =>
        FormatError::Layout(error) if matches!(**error, LayoutError::TooBig { .. }), ["too big"];
    too_many_axes: with_shape(&format!("({})", "1,".repeat(65))), None =>
        FormatError::Layout(error) if matches!(**error, LayoutError::TooManyAxes { ndim: 65 }), ["at most 64"];
    objects: with_descr("'|O'"), None =>
        FormatError::DType(DTypeError::Object { .. }), ["Python objects", "save it again"];
    objects_in_a_field: with_descr("[('x', '<f8'), ('y', '|O')]"), None =>
        FormatError::DType(DTypeError::Field { .. }), ["\"y\"", "Python objects"];
    unknown_dtype: with_descr("'<f3'"), None => FormatError::DType(DTypeError::Syntax { .. }), ["<f3"];
    descr_as_number: with_descr("8"), None => FormatError::DType(DTypeError::Descr { .. }), ["'descr'", "an integer"];
    data_cut_short: with_shape("(9,)"), None =>
        FormatError::DataTruncated { itemsize: 8, .. }, ["(9,)", "items of 8 bytes", "cut short"];
    huge_data: with_shape("(1152921504606846975,)"), None =>
        FormatError::DataTruncated { .. }, ["9223372036854775"];
    member_of_npy: with_shape("(1,)"), Some("x") =>
        FormatError::MemberOfNpy { .. }, ["no members", "\"x\"", "leave the member out"];
}

/// Valid files of every kind.
fn samples() -> Vec<Vec<u8>> {
    let structured = "[('a', '<f8'), ('b', 'u1', (2, 3)), ('c', [('d', 'S4')])]";
    let utf8 = npy(
        (3, 0),
        "{'descr': [('ж', '<f8')], 'fortran_order': True, 'shape': (3,), }",
        24,
    );
    vec![
        with_shape("(2, 4)"),
        utf8,
        with_descr(structured),
        zip::two().end(),
        written("np.savez(f, a=np.arange(3), b=np.ones((2, 2), 'f4'))").unwrap(),
        written("np.savez_compressed(f, a=np.arange(3))").unwrap(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5000, ..ProptestConfig::default() })]

    #[test]
    fn damage_gives_an_error_or_an_array_in_bounds(
        which in 0_usize..6,
        cut in prop::option::of(any::<prop::sample::Index>()),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        member in select(&[None, Some("a"), Some("b"), Some("arr_0")][..]),
    ) {
        static SAMPLES: std::sync::OnceLock<Vec<Vec<u8>>> = std::sync::OnceLock::new();
        let mut file = SAMPLES.get_or_init(samples)[which].clone();
        for (at, byte) in edits {
            let at = at.index(file.len());
            file[at] = byte;
        }
        if let Some(cut) = cut {
            file.truncate(cut.index(file.len()));
        }
        match find(&file, member) {
            Ok(placement) => {
                let nbytes = placement.header().nbytes() as u64;
                prop_assert!(placement.offset() + nbytes <= file.len() as u64);
            }
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }
}
