//! Which claims may go: those that no recovery can need and no request under way can meet. Never the newest, never the newest full
//! vector nor what follows it.

use super::ClaimLog;
use crate::mutation;

impl ClaimLog<'_> {
    /// Deletes what is old, one after another, until one is met that stays. A failure is made good after the next claim.
    pub(super) async fn delete_old(&mut self) {
        while self.may_go(self.oldest.0) && self.is_old().await {
            let (number, _) = self.oldest;
            self.sink.may_send().await;
            if let Err(error) = self.port.delete_claim(number).await {
                return self.sink.note(|status| status.last_error = Some(error.to_string()));
            }
            self.oldest = (number + 1, None);
        }
    }

    /// By its number alone.
    fn may_go(&self, number: u64) -> bool {
        let Some(full) = self.known.number() else { return false };
        let is_needed = number >= full && !mutation::on("newest_full_deleted");
        !is_needed && number.saturating_add(self.sink.tuning.claims_kept_min) < self.next
    }

    /// By when it was written. A claim that is gone already counts as old.
    async fn is_old(&mut self) -> bool {
        let (number, written) = self.oldest;
        let written = match written {
            Some(written) => written,
            None => match self.port.get_claim(number).await {
                Ok(claim) => claim.map_or(i64::MIN, |claim| claim.written),
                Err(_) => return false,
            },
        };
        self.oldest = (number, Some(written));
        let life = i64::try_from(self.sink.tuning.claim_life.as_nanos()).unwrap_or(i64::MAX);
        written.saturating_add(life) < self.sink.clock.now()
    }
}
