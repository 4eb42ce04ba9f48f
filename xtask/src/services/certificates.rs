//! A certificate for 127.0.0.1, one for a client, and the authority that signed both, made once by the JDK's own `keytool`, for
//! servers that speak TLS. They are for tests on this machine: the password of the key stores is no secret.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::java::Java;
use super::provision;

/// Password of the key stores.
pub const STORE_PASSWORD: &str = "sawlog-test";
/// How long the certificates are good for; the cache folder keeps them.
const DAYS: &str = "3650";

/// `keytool` writes no private key as PEM, the library that it stands on does: arguments are the store, its password, the alias.
const KEY_AS_PEM: &str = r#"
class KeyAsPem {
    public static void main(String[] arguments) throws Exception {
        var password = arguments[1].toCharArray();
        var key = java.security.KeyStore.getInstance(new java.io.File(arguments[0]), password).getKey(arguments[2], password);
        var text = java.util.Base64.getMimeEncoder(64, "\n".getBytes()).encodeToString(key.getEncoded());
        System.out.println("-----BEGIN PRIVATE KEY-----\n" + text + "\n-----END PRIVATE KEY-----");
    }
}
"#;

/// The files.
pub struct Certificates {
    /// The folder with all of them; a client finds `authority.pem`, `client.pem` and `client-key.pem` there, a server `server.pem` and `server-key.pem`.
    pub folder: PathBuf,
    /// Key and certificate of a server on 127.0.0.1, PKCS #12.
    pub server: PathBuf,
    /// The authority's certificate, PEM.
    pub authority: PathBuf,
}

/// Makes them, unless the cache folder has them.
pub fn made(java: &Java) -> Result<Certificates> {
    let folder = provision::once("certificates-3", |new| make(java, new))?;
    Ok(Certificates { server: folder.join("server.p12"), authority: folder.join("authority.pem"), folder })
}

fn make(java: &Java, folder: &Path) -> Result<()> {
    let pair = |alias: &str, name: &str| {
        ["-genkeypair", "-alias", alias, "-dname", name, "-keyalg", "EC", "-groupname", "secp256r1", "-validity", DAYS]
            .map(String::from)
            .to_vec()
    };
    let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
    let keytool = |store: &str, arguments: Vec<String>| {
        let mut command = Command::new(java.program("keytool"));
        command.args(arguments).args(["-keystore", store, "-storetype", "PKCS12", "-storepass", STORE_PASSWORD]);
        let output = command.current_dir(folder).output().context("cannot run keytool, which a JDK has")?;
        let said = [output.stdout, output.stderr].concat();
        ensure!(output.status.success(), "keytool: {}", String::from_utf8_lossy(&said));
        Ok(())
    };
    keytool("authority.p12", [pair("authority", "CN=Sawlog test authority"), words(&["-ext", "bc:c"])].concat())?;
    keytool("authority.p12", words(&["-exportcert", "-rfc", "-alias", "authority", "-file", "authority.pem"]))?;
    let server = ["-ext", "san=ip:127.0.0.1,dns:localhost", "-ext", "eku=serverAuth"];
    let client = ["-ext", "eku=clientAuth"];
    for (alias, name, names) in [("server", "CN=127.0.0.1", &server[..]), ("client", "CN=client", &client[..])] {
        let (store, signed) = (format!("{alias}.p12"), format!("{alias}.pem"));
        keytool(&store, pair(alias, name))?;
        keytool(&store, words(&["-certreq", "-alias", alias, "-file", "request.pem"]))?;
        let sign = ["-gencert", "-alias", "authority", "-rfc", "-infile", "request.pem", "-outfile", &signed];
        keytool("authority.p12", words(&[&sign[..], names, &["-validity", DAYS]].concat()))?;
        keytool(&store, words(&["-importcert", "-noprompt", "-alias", "authority", "-file", "authority.pem"]))?;
        keytool(&store, words(&["-importcert", "-noprompt", "-alias", alias, "-file", &signed]))?;
    }
    fs::write(folder.join("KeyAsPem.java"), KEY_AS_PEM)?;
    for alias in ["client", "server"] {
        let mut export = Command::new(java.program("java"));
        export.args(["KeyAsPem.java", &format!("{alias}.p12"), STORE_PASSWORD, alias]).current_dir(folder);
        let output = export.output().context("cannot run java")?;
        ensure!(output.status.success(), "the {alias}'s key: {}", String::from_utf8_lossy(&output.stderr));
        fs::write(folder.join(format!("{alias}-key.pem")), output.stdout)?;
    }
    Ok(())
}
