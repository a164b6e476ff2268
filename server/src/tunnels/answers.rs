//! Grants whose device has not yet said whether it takes them.

use std::collections::HashMap;
use std::sync::Mutex;

use klnet_wire::id::{DeviceId, GrantId};
use tokio::sync::oneshot;

/// What a device says to a grant: yes, or why not.
pub(super) type Answer = Result<(), String>;

/// Who waits for which device's answer.
#[derive(Debug, Default)]
pub(super) struct Answers(Mutex<HashMap<GrantId, (DeviceId, oneshot::Sender<Answer>)>>);

/// A question to a device; it is withdrawn when dropped, also with the request that asked it.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    answers: &'a Answers,
    grant: GrantId,
    answer: oneshot::Receiver<Answer>,
}

impl Answers {
    /// Expects a device's answer to a grant.
    pub(super) fn ask(&self, grant: GrantId, device: DeviceId) -> Asked<'_> {
        let (sender, answer) = oneshot::channel();
        self.0.lock().expect("no holder panics").insert(grant, (device, sender));
        Asked { answers: self, grant, answer }
    }

    /// Takes an answer, if it is by the device that was asked.
    pub(super) fn answer(&self, grant: GrantId, device: DeviceId, answer: Answer) {
        let mut asked = self.0.lock().expect("no holder panics");
        if asked.get(&grant).is_some_and(|(of, _)| *of == device)
            && let Some((_, waiting)) = asked.remove(&grant)
        {
            // Whoever asked may have given up.
            let _ = waiting.send(answer);
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().expect("no holder panics").is_empty()
    }
}

impl Asked<'_> {
    /// Waits for the answer; `None` when there will be none.
    pub(super) async fn answer(&mut self) -> Option<Answer> {
        (&mut self.answer).await.ok()
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.answers.0.lock().expect("no holder panics").remove(&self.grant);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_device_that_was_asked_answers() {
        let (answers, grant) = (Answers::default(), GrantId::random());
        let (asked, other) = (DeviceId::new([1; 16]), DeviceId::new([2; 16]));
        let mut question = answers.ask(grant, asked);
        answers.answer(grant, other, Err("not yours".into()));
        answers.answer(grant, asked, Ok(()));
        assert_eq!(question.answer().await, Some(Ok(())));
    }

    #[test]
    fn a_question_dropped_with_its_request_leaves_nothing() {
        let answers = Answers::default();
        drop(answers.ask(GrantId::random(), DeviceId::random()));
        assert!(answers.is_empty());
    }
}
