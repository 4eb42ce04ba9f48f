//! What an error of HDFS means for a sink, and what a person can do about it.

use hdfs_native::HdfsError;
use sawlog_core::ports::SinkError;

/// Whether the error says that a file is not there.
pub(super) fn is_missing(error: &HdfsError) -> bool {
    match error {
        HdfsError::FileNotFound(_) => true,
        HdfsError::RPCError(class, _) | HdfsError::FatalRPCError(class, _) => class == "java.io.FileNotFoundException",
        _ => false,
    }
}

/// What the failure of `what` means; `is_edit`: it may have taken effect.
pub(super) fn failed(what: &str, url: &str, error: &HdfsError, is_edit: bool) -> SinkError {
    let text = format!("{what} at {url}: {}", first_line(&error.to_string()));
    match error {
        HdfsError::RPCError(class, message) | HdfsError::FatalRPCError(class, message) => {
            by_class(text, class, message, is_edit)
        }
        // Of a folder that can't be made; of an unfinished file it would be our own name, met again by a repeated call.
        HdfsError::AlreadyExists(message) if message.contains("not a directory") => {
            SinkError::Refused(format!("{text}; move away what stands there, or change `path`"))
        }
        HdfsError::SASLError(_) | HdfsError::GSSAPIError(..) | HdfsError::NoSASLMechanism => {
            SinkError::Refused(format!("{text}; check `kerberos`: principal, keytab and realm"))
        }
        HdfsError::InvalidPath(_) | HdfsError::IsADirectoryError(_) | HdfsError::UrlParseError(_) => {
            SinkError::Refused(text)
        }
        HdfsError::UnsupportedFeature(_) | HdfsError::UnsupportedErasureCodingPolicy(_) => {
            SinkError::Refused(format!("{text}; choose another folder in `path`"))
        }
        _ if is_edit => SinkError::Unknown(text),
        _ => SinkError::Unavailable(text),
    }
}

fn by_class(text: String, class: &str, message: &str, is_edit: bool) -> SinkError {
    let is = |name: &str| class.ends_with(name);
    if is("SafeModeException") || (is("RetriableException") && message.contains("safe mode")) {
        return SinkError::Unavailable(format!(
            "{text}; the namenode is in safe mode and takes no writes: wait until it leaves it, or run `hdfs dfsadmin -safemode leave`"
        ));
    }
    if is("AccessControlException") || is("AuthorizationException") || is("InvalidToken") {
        return SinkError::Refused(format!("{text}; give the user of this sink read, write and execute there"));
    }
    if is("DSQuotaExceededException") || is("NSQuotaExceededException") || is("QuotaExceededException") {
        return SinkError::Unavailable(format!("{text}; raise the quota or delete files, delivery goes on by itself"));
    }
    if is("StandbyException") {
        return SinkError::Unavailable(format!(
            "{text}; this namenode is a standby: name the nameservice in `url` and both in `options`"
        ));
    }
    if is("ParentNotDirectoryException") || is("InvalidPathException") || is("UnresolvedPathException") {
        return SinkError::Refused(format!("{text}; move away what stands there, or change `path`"));
    }
    if is_edit { SinkError::Unknown(text) } else { SinkError::Unavailable(text) }
}

/// Exceptions come with a stack trace, which helps nobody here.
fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rpc(class: &str, message: &str) -> HdfsError {
        HdfsError::RPCError(class.into(), message.into())
    }

    #[test]
    fn safe_mode_is_waited_for_and_says_so() {
        for error in [
            rpc("org.apache.hadoop.hdfs.server.namenode.SafeModeException", "Cannot create file"),
            rpc("org.apache.hadoop.ipc.RetriableException", "NameNode still not started, in safe mode"),
        ] {
            let failed = failed("can't put x", "hdfs://nn", &error, true);
            assert!(matches!(&failed, SinkError::Unavailable(text) if text.contains("safe mode")), "{failed}");
        }
    }

    #[test]
    fn a_lost_reply_of_an_edit_is_unknown_and_a_lost_read_is_not() {
        let lost = || HdfsError::IOError(std::io::ErrorKind::ConnectionReset.into());
        assert!(matches!(failed("x", "hdfs://nn", &lost(), true), SinkError::Unknown(_)));
        assert!(matches!(failed("x", "hdfs://nn", &lost(), false), SinkError::Unavailable(_)));
    }

    #[test]
    fn a_missing_right_is_a_persons_to_mend_and_shows_no_stack_trace() {
        let error =
            rpc("org.apache.hadoop.security.AccessControlException", "Permission denied: user=a\n\tat org.apache");
        let failed = failed("can't put x", "hdfs://nn", &error, true).to_string();
        assert!(failed.starts_with("refused") && failed.contains("user=a") && !failed.contains("\tat"), "{failed}");
    }
}
