//! A certificate for 127.0.0.1 and the authority that signed it, made once by the JDK's own `keytool`, for servers that speak TLS.
//! They are for tests on this machine: the password of the key store is no secret.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::java::Java;
use super::provision;

/// Password of the key stores.
pub const STORE_PASSWORD: &str = "sawlog-test";
/// How long the certificates are good for; the cache folder keeps them.
const DAYS: &str = "3650";

/// The files.
pub struct Certificates {
    /// Key and certificate of a server on 127.0.0.1, PKCS #12.
    pub server: PathBuf,
    /// The authority's certificate, PEM.
    pub authority: PathBuf,
}

/// Makes them, unless the cache folder has them.
pub fn made(java: &Java) -> Result<Certificates> {
    let folder = provision::once("certificates-1", |new| make(java, new))?;
    Ok(Certificates { server: folder.join("server.p12"), authority: folder.join("authority.pem") })
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
    keytool("server.p12", pair("server", "CN=127.0.0.1"))?;
    keytool("server.p12", words(&["-certreq", "-alias", "server", "-file", "request.pem"]))?;
    let sign = ["-gencert", "-alias", "authority", "-rfc", "-infile", "request.pem", "-outfile", "server.pem"];
    let names = ["-ext", "san=ip:127.0.0.1,dns:localhost", "-ext", "eku=serverAuth", "-validity", DAYS];
    keytool("authority.p12", words(&[&sign[..], &names[..]].concat()))?;
    keytool("server.p12", words(&["-importcert", "-noprompt", "-alias", "authority", "-file", "authority.pem"]))?;
    keytool("server.p12", words(&["-importcert", "-noprompt", "-alias", "server", "-file", "server.pem"]))
}
