//! Detached signatures of components: Ed25519 over the bytes of the file. Keys are PEM files as `openssl` writes them, a signature is
//! its 64 bytes in base64 on a line, in a file beside the component. It knows no configuration.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};

/// What stands before the 32 bytes of a public key: that it is one of Ed25519.
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// Bytes of a public key.
const PUBLIC_KEY_BYTES: usize = 32;
/// Who may read a private key: its owner.
const PRIVATE_MODE: u32 = 0o600;

/// Why nothing is signed, or a signature does not hold. What follows the semicolon says how to mend it.
#[derive(Debug, Error)]
pub enum SignatureError {
    /// A file can't be read or written.
    #[error("{}: {source}; correct the path, or who may read and write there", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file without the key that was expected in it.
    #[error("{}: {why}; `sawlog plugin keygen` writes such files", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// There is no signature.
    #[error("the component {} has no signature: {} can't be read: {source}; copy it there too, or have the component signed with `sawlog plugin sign`", component.display(), path.display())]
    Missing {
        /// The component.
        component: PathBuf,
        /// Where its signature should be.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file of the signature holds none.
    #[error("{} is no signature, which is 64 bytes in base64 on a line; copy it there again, or have the component signed with `sawlog plugin sign`", .0.display())]
    Malformed(PathBuf),
    /// It is of other bytes, or by another key.
    #[error("the signature {} does not hold: no key of {} signed the component {} as it is now, {digest}; do not run it, and find out who changed or signed it", path.display(), key.display(), component.display())]
    Wrong {
        /// The component.
        component: PathBuf,
        /// Its digest.
        digest: crate::digest::ContentDigest,
        /// The signature.
        path: PathBuf,
        /// The keys that may sign.
        key: PathBuf,
    },
    /// A component without a file came without a signature.
    #[error("the component {digest} came without a signature, and a key of {} must have signed it; sign it with `sawlog plugin sign`, and send its signature along", key.display())]
    NotGiven {
        /// The component's digest.
        digest: crate::digest::ContentDigest,
        /// The keys that may sign.
        key: PathBuf,
    },
    /// What came as the signature of a component without a file is none, or is of other bytes or by another key.
    #[error("the signature that came with the component {digest} does not hold: it is 64 bytes in base64 by a key of {}; have exactly this component signed with `sawlog plugin sign`", key.display())]
    GivenWrong {
        /// The component's digest.
        digest: crate::digest::ContentDigest,
        /// The keys that may sign.
        key: PathBuf,
    },
    /// The library refuses.
    #[error("{0} failed in the cryptographic library")]
    Library(&'static str),
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> SignatureError {
    let path = path.to_owned();
    move |source| SignatureError::Io { path, source }
}

/// Where the signature of `component` lies: beside it, with `.sig` behind its name.
pub fn path_of(component: &Path) -> PathBuf {
    with(component, ".sig")
}

/// Where the public key of the private key at `private` lies: beside it, with `.pub` behind its name.
pub fn public_path_of(private: &Path) -> PathBuf {
    with(private, ".pub")
}

fn with(path: &Path, ending: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(ending);
    path.into()
}

/// Makes a pair of keys: the private one at `private`, which only its owner may read, and the public one beside it. Nothing that is
/// there is overwritten.
pub fn generate(private: &Path) -> Result<(), SignatureError> {
    let pair = Ed25519KeyPair::generate().map_err(|_| SignatureError::Library("making a key"))?;
    let document = pair.to_pkcs8v1().map_err(|_| SignatureError::Library("writing a key"))?;
    let public = public_path_of(private);
    let spki = [&SPKI_PREFIX[..], pair.public_key().as_ref()].concat();
    // The public one first: a private key without it can't be made use of by those who verify.
    write_new(&public, 0o644, &pem("PUBLIC KEY", &spki))?;
    write_new(private, PRIVATE_MODE, &pem("PRIVATE KEY", document.as_ref()))
        .inspect_err(|_| drop(std::fs::remove_file(&public)))
}

fn write_new(path: &Path, mode: u32, text: &str) -> Result<(), SignatureError> {
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(io(path))
}

/// Both kinds of key fit into one line.
fn pem(kind: &str, der: &[u8]) -> String {
    format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", STANDARD.encode(der))
}

/// Signs the component, and writes the signature beside it; where that is.
pub fn sign(component: &Path, private: &Path) -> Result<PathBuf, SignatureError> {
    let text = std::fs::read(private).map_err(io(private))?;
    let key = |why| SignatureError::Key { path: private.to_owned(), why };
    let der = PrivatePkcs8KeyDer::from_pem_slice(&text).map_err(|_| {
        key("it holds no private key, which is PEM that begins with BEGIN PRIVATE KEY and is not encrypted")
    })?;
    let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der());
    let pair = pair.map_err(|_| key("its private key is none of Ed25519"))?;
    let bytes = std::fs::read(component).map_err(io(component))?;
    let signature = pair.try_sign(&bytes).map_err(|_| SignatureError::Library("signing"))?;
    let path = path_of(component);
    std::fs::write(&path, STANDARD.encode(signature.as_ref()) + "\n").map_err(io(&path))?;
    Ok(path)
}

/// Holds the signature beside `component`, whose bytes these are, against the public keys in `key`: one of them must have signed.
pub fn verify(component: &Path, bytes: &[u8], key: &Path) -> Result<(), SignatureError> {
    let keys = public_keys(key)?;
    let path = path_of(component);
    let text = std::fs::read(&path);
    let text =
        text.map_err(|source| SignatureError::Missing { component: component.to_owned(), path: path.clone(), source })?;
    let signature = decode(&text).ok_or_else(|| SignatureError::Malformed(path.clone()))?;
    if is_signed(bytes, &signature, &keys) {
        return Ok(());
    }
    let digest = crate::digest::ContentDigest::of(bytes);
    Err(SignatureError::Wrong { component: component.to_owned(), digest, path, key: key.to_owned() })
}

/// Holds a signature that came along with a component, whose bytes these are, against the public keys in `key`: one of them must
/// have signed.
pub fn verify_given(bytes: &[u8], signature: Option<&str>, key: &Path) -> Result<(), SignatureError> {
    let keys = public_keys(key)?;
    let digest = || crate::digest::ContentDigest::of(bytes);
    let signature = signature.ok_or_else(|| SignatureError::NotGiven { digest: digest(), key: key.to_owned() })?;
    match decode(signature.as_bytes()).is_some_and(|signature| is_signed(bytes, &signature, &keys)) {
        true => Ok(()),
        false => Err(SignatureError::GivenWrong { digest: digest(), key: key.to_owned() }),
    }
}

/// The bytes of a signature as it is written.
fn decode(text: &[u8]) -> Option<Vec<u8>> {
    STANDARD.decode(text.trim_ascii()).ok().filter(|bytes| bytes.len() == 64)
}

fn is_signed(bytes: &[u8], signature: &[u8], keys: &[[u8; PUBLIC_KEY_BYTES]]) -> bool {
    keys.iter().any(|key| UnparsedPublicKey::new(&ED25519, key).verify(bytes, signature).is_ok())
}

/// The public keys of a PEM file, at least one.
fn public_keys(path: &Path) -> Result<Vec<[u8; PUBLIC_KEY_BYTES]>, SignatureError> {
    let text = std::fs::read(path).map_err(io(path))?;
    let wrong = |why| SignatureError::Key { path: path.to_owned(), why };
    let mut keys = Vec::new();
    for der in SubjectPublicKeyInfoDer::pem_slice_iter(&text) {
        let der = der.map_err(|_| wrong("it is damaged"))?;
        let key = der.as_ref().strip_prefix(&SPKI_PREFIX).and_then(|key| key.try_into().ok());
        keys.push(key.ok_or_else(|| wrong("a public key in it is none of Ed25519"))?);
    }
    match keys.is_empty() {
        true => Err(wrong("it holds no public key, which is PEM that begins with BEGIN PUBLIC KEY")),
        false => Ok(keys),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn signed() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let (component, private) = (folder.path().join("a.wasm"), folder.path().join("key"));
        std::fs::write(&component, b"component").expect("written");
        generate(&private).expect("a pair");
        sign(&component, &private).expect("signed");
        let public = public_path_of(&private);
        (folder, component, public)
    }

    fn told(component: &Path, key: &Path) -> String {
        verify(component, &std::fs::read(component).expect("read"), key).expect_err("it does not hold").to_string()
    }

    #[test]
    fn a_signature_holds_for_its_bytes_and_its_key_alone() {
        let (_folder, component, public) = signed();
        verify(&component, b"component", &public).expect("it holds");
        let (_other, _, stranger) = signed();
        assert!(told(&component, &stranger).contains("does not hold"));
        std::fs::write(&component, b"Component").expect("written");
        let told = told(&component, &public);
        assert!(
            told.contains("does not hold")
                && told.contains(&crate::digest::ContentDigest::of(b"Component").to_string()),
            "{told}"
        );
    }

    #[test]
    fn a_signature_that_comes_along_is_held_against_the_keys_too() {
        let (_folder, component, public) = signed();
        let text = std::fs::read_to_string(path_of(&component)).expect("read");
        verify_given(b"component", Some(&text), &public).expect("it holds");
        let told = |bytes: &[u8], signature: Option<&str>| {
            verify_given(bytes, signature, &public).expect_err("it does not hold").to_string()
        };
        assert!(told(b"component", None).contains("without a signature"));
        for (bytes, signature) in [(&b"Component"[..], text.as_str()), (b"component", ""), (b"component", "nothing")] {
            assert!(told(bytes, Some(signature)).contains("does not hold"), "{signature}");
        }
    }

    #[test]
    fn one_of_several_keys_suffices() {
        let ((_a, component, public), (_b, _, other)) = (signed(), signed());
        let both = [std::fs::read(other).expect("read"), std::fs::read(&public).expect("read")].concat();
        std::fs::write(&public, both).expect("written");
        verify(&component, b"component", &public).expect("it holds");
    }

    #[test]
    fn keys_are_for_their_owner_and_never_overwritten() {
        let (folder, ..) = signed();
        let private = folder.path().join("key");
        let mode = std::fs::metadata(&private).expect("metadata").permissions().mode();
        assert_eq!(mode & 0o777, PRIVATE_MODE);
        let before = std::fs::read(&private).expect("read");
        assert!(generate(&private).expect_err("there is one").to_string().contains("exists"));
        std::fs::remove_file(public_path_of(&private)).expect("removed");
        assert!(generate(&private).expect_err("there is one").to_string().contains("exists"));
        assert!(!public_path_of(&private).exists(), "no public key that is not its own");
        assert_eq!(std::fs::read(&private).expect("read"), before);
    }

    #[test]
    fn what_is_no_key_and_no_signature_is_told() {
        let (folder, component, public) = signed();
        let private = folder.path().join("key");
        assert!(told(&component, &private).contains("holds no public key"));
        let sign = |key: &Path| sign(&component, key).expect_err("no private key").to_string();
        assert!(sign(&public).contains("holds no private key"));
        assert!(sign(&folder.path().join("absent")).contains("absent"));
        let write = |path: &Path, text: &str| std::fs::write(path, text).expect("written");
        write(&private, &pem("PRIVATE KEY", b"not a key"));
        assert!(sign(&private).contains("none of Ed25519"));
        let good = std::fs::read_to_string(&public).expect("read");
        write(&public, &pem("PUBLIC KEY", &[0x30; 44]));
        assert!(told(&component, &public).contains("none of Ed25519"));
        write(&public, &good);
        for text in ["", "nothing", "AAAA", &STANDARD.encode([0; 63])] {
            write(&path_of(&component), text);
            assert!(told(&component, &public).contains("is no signature"), "{text}");
        }
        write(&path_of(&component), &STANDARD.encode([0; 64]));
        assert!(told(&component, &public).contains("does not hold"));
        std::fs::remove_file(path_of(&component)).expect("removed");
        assert!(told(&component, &public).contains("has no signature"));
    }
}
