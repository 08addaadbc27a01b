//! Writes the seed corpus of the fuzz targets: `cargo run --bin seeds` in this directory.

use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::Path;

use mapcall_array::DType;
use mapcall_array::format::Header;
use mapcall_array::layout::Order;

const DESCRS: [&str; 12] = [
    "'<f8'",
    "'|b1'",
    "'>c16'",
    "'<M8[25us]'",
    "'|S5'",
    "'<U3'",
    "[('x', '<f4'), ('', '|V4'), ('it\\'s', '>i8', (2, 3))]",
    "[(('title', 'é'), [('ж', '|u1')], (2,))]",
    "('<i2', (3,))",
    "'i4, (2,)<f8'",
    "'3<f4'",
    "[('x', r'2<i2'), ('\\x79', u'<u\\x32', 0x2)]",
];

const STRINGS: [&str; 12] = [
    "f8",
    "<i4",
    "float32",
    "datetime64[ns]",
    "m8[7D]",
    "S10",
    "U3",
    "(2,3)f4",
    "i4, (2,)<f8",
    "3<f4",
    ">2M8[25s],?,",
    "2<3f4",
];

const PROTOTYPES: [&str; 10] = [
    "void saxpy(size_t n, float a, const float x[restrict n], float y[restrict n]);",
    "typedef struct { double re, im; } c; double f(const c x[m][n + 1], int m, int n);",
    "enum { A = 1 << 2, B = A * 3 }; int g(char s[static A], float (*m)[B]);",
    "struct s; struct s *open_s(const char *name); int print(const char *, ...);",
    "void sort(void *p, size_t n, int (*compare)(const void *, const void *));",
    "union __attribute__((packed)) u { int i; float v[2]; }; float _Complex h(union u x);",
    "/**/*/ */ *:*!;{* void f(void)",
    "void f(int x[(int)(1 ? ((2)) : -~sizeof(int[3])) + (1 + (1))]);",
    "struct a { char c; }; struct b { struct a x, y; }; struct c { struct b x, y; }; void f(struct c *p);",
    "typedef struct { struct { int i; } *x, *y; } t; typedef t (*g)(t, t); void f(g a, struct { t x, y; } *b);",
];

/// Prototypes with arguments for each kind of parameter.
const BOUND: [&str; 9] = [
    "void saxpy(size_t n, float a, const float x[restrict n], float y[restrict n]);",
    "int gemm(int m, int n, int k, double a[m][k], const double b[k][n], double c[restrict m][n]);",
    "double f(unsigned char n, const double x[2 * n + 1], double y[(n + 7) / 8][3], double z[n]);",
    "struct p { double x; int n; }; struct p move(struct p p, size_t n, const struct p q[n]);",
    "void *get(const char *name, void *context, int (*f)(int), double *p, long double _Complex z);",
    "void f(short n, _Bool b, _Float16 x[n], float _Complex y[n - 1], char s[static 4], int *p[n]);",
    "void f(int w, int h, const unsigned char *restrict p, int q[restrict h * w], int r[]);",
    "union a { char c; }; union b { union a x, y; }; struct c { union b x[2], y; }; int f(int n, struct c x[n]);",
    "long double f(enum { A, B } e, int n, long double x[n << 40], long y[n % 3], int z[-n]);",
];

fn main() -> Result<(), Box<dyn Error>> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let write = |target: &str, name: &str, bytes: &[u8]| {
        let directory = corpus.join(target);
        fs::create_dir_all(&directory)?;
        fs::write(directory.join(name), bytes)
    };
    let mut arrays = Vec::new();
    for (i, descr) in DESCRS.iter().enumerate() {
        write("dtype", &format!("descr{i}"), descr.as_bytes())?;
        let dtype = DType::from_descr(&descr.parse()?)?;
        for (shape, order) in [
            (&[][..], Order::C),
            (&[3], Order::C),
            (&[2, 0, 2], Order::F),
            (&[2, 2], Order::F),
        ] {
            let header = Header::new(dtype.clone(), shape, order)?;
            let mut file = header.to_bytes()?;
            file.resize(file.len() + header.nbytes(), 1);
            write("npy", &format!("{i}-{}", shape.len()), &file)?;
            arrays.push(file);
        }
    }
    for (i, string) in STRINGS.iter().enumerate() {
        write("dtype", &format!("string{i}"), string.as_bytes())?;
    }
    for (i, prototype) in PROTOTYPES.iter().enumerate() {
        write("prototype", &i.to_string(), prototype.as_bytes())?;
    }
    for (i, prototype) in BOUND.iter().enumerate() {
        for (j, step) in [0_u8, 7, 61].into_iter().enumerate() {
            let choices = (0..128_u8).map(|k| 17_u8.wrapping_add(k.wrapping_mul(step)));
            let bytes = prototype.bytes().chain([0]).chain(choices);
            write("binder", &format!("{i}-{j}"), &bytes.collect::<Vec<_>>())?;
        }
    }
    write(
        "npy",
        "python2",
        b"\x93NUMPY\x01\x00\x39\x00{'descr': '|u1', 'fortran_order': False, 'shape': (1L,), }\n1",
    )?;
    let header = "# by hand\n{'descr': '<' r'f8', \\\n'fortran_order': True, # F\n'shape': (0x2, 1_0)}";
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend(u16::try_from(header.len())?.to_le_bytes());
    file.extend(header.bytes().chain([1; 160]));
    write("npy", "python", &file)?;
    for count in 0..4 {
        write(
            "npz",
            &count.to_string(),
            &archive(arrays.iter().take(count))?,
        )?;
    }
    Ok(())
}

fn archive<'a>(members: impl Iterator<Item = &'a Vec<u8>>) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut zip = rawzip::ZipArchiveWriter::new(Vec::new());
    for (i, member) in members.enumerate() {
        let name = format!("arr_{i}.npy");
        let (mut entry, config) = zip.new_file(&name).start()?;
        let mut data = config.wrap(&mut entry);
        data.write_all(member)?;
        let (_, descriptor) = data.finish()?;
        entry.finish(descriptor)?;
    }
    Ok(zip.finish()?)
}
