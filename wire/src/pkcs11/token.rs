//! A token: its module, a session in it, and what to do when that is lost.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use tokio::runtime::{Handle, RuntimeFlavor};

use super::pin::{Pin, Refused};
use super::uri::{KeyUri, TokenName};
use crate::signing::KeyError;

/// A token, as its URI names it; nothing is opened before a key is used. Clones share one session.
#[derive(Clone)]
pub struct Token(Arc<Inner>);

struct Inner {
    uri: KeyUri,
    state: Mutex<State>,
}

struct State {
    open: Option<Open>,
    refused: Refused,
}

/// A session in which the user is logged in.
pub(super) struct Open {
    pub(super) module: Pkcs11,
    pub(super) slot: Slot,
    pub(super) session: Session,
}

impl Token {
    /// The token of `uri`. In the file `refused` is written down which PIN it has refused.
    pub fn new(uri: KeyUri, refused: PathBuf) -> Self {
        Self(Arc::new(Inner { uri, state: Mutex::new(State { open: None, refused: Refused::new(refused) }) }))
    }

    /// What names it.
    pub fn uri(&self) -> &KeyUri {
        &self.0.uri
    }

    /// Does `work` in a session, which is opened for it unless there is one. When it fails in one that was there, the
    /// token may have been reset or taken out meanwhile: all is begun anew, once.
    pub(super) fn with<T>(&self, work: impl Fn(&Open) -> Result<T, KeyError>) -> Result<T, KeyError> {
        aside(|| {
            let (mut modules, mut state) = (locked(&MODULES), locked(&self.0.state));
            let was_open = state.open.is_some();
            match self.attempt(&mut modules, &mut state, &work) {
                Err(error) if was_open => {
                    tracing::debug!(%error, "the session in the token is begun anew");
                    self.attempt(&mut modules, &mut state, &work)
                }
                done => done,
            }
        })
    }

    /// After an error nothing is kept, so that the next attempt sees the slots as they are then.
    fn attempt<T>(
        &self,
        modules: &mut Modules,
        state: &mut State,
        work: &impl Fn(&Open) -> Result<T, KeyError>,
    ) -> Result<T, KeyError> {
        let opened = match state.open.take() {
            Some(open) => Ok(open),
            None => self.open(modules, &mut state.refused),
        };
        let done = opened.and_then(|open| {
            let done = work(&open)?;
            state.open = Some(open);
            Ok(done)
        });
        if done.is_err() {
            finalize(modules, &self.0.uri.module);
        }
        done
    }

    fn open(&self, modules: &mut Modules, refused: &mut Refused) -> Result<Open, KeyError> {
        let module = initialized(modules, &self.0.uri.module)?;
        let (slot, info) = slot(&module, &self.0.uri.token)?;
        // Closed by hand: a session that was lost is no error in anybody's log.
        let session = module.open_ro_session_no_drop(slot).map_err(failed)?;
        self.log_in(&session, &info, refused)?;
        Ok(Open { module, slot, session })
    }

    fn log_in(&self, session: &Session, info: &TokenInfo, refused: &mut Refused) -> Result<(), KeyError> {
        if !info.login_required() {
            return Ok(());
        }
        if info.user_pin_locked() {
            return Err(KeyError::PinLocked);
        }
        // One that asks for its PIN at a reader of its own is for people, not for a service.
        let path = self.0.uri.pin_source.as_ref().ok_or(KeyError::NoPin)?;
        let pin = Pin::read(path)?;
        if refused.is(&pin.stamp) {
            return Err(KeyError::PinRefused(path.clone()));
        }
        match logged_in(session.login(UserType::User, Some(&pin.secret))) {
            Ok(()) => {
                refused.forget();
                Ok(())
            }
            Err(Error::Pkcs11(RvError::PinLocked, _)) => Err(KeyError::PinLocked),
            Err(Error::Pkcs11(RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange, _)) => {
                refused.note(pin.stamp);
                Err(KeyError::PinRefused(path.clone()))
            }
            Err(error) => Err(failed(error)),
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Token").field(&self.0.uri).finish()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let _modules = locked(&MODULES);
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = state.open.take() {
            // The token may be gone, and its sessions with it.
            let _ = open.session.close();
        }
    }
}

type Modules = BTreeMap<PathBuf, Pkcs11>;

/// The modules that this process has loaded, and the right to call them. What a module knows belongs to the process
/// (initialisation, logins), not every one survives to be unloaded, and none may be called while it is finalised.
static MODULES: Mutex<Modules> = Mutex::new(Modules::new());

fn initialized(modules: &mut Modules, path: &Path) -> Result<Pkcs11, KeyError> {
    let bad = |reason: String| KeyError::Module { module: path.to_owned(), reason };
    let module = match modules.get(path) {
        Some(module) => module.clone(),
        None => Pkcs11::new(path).map_err(|error| bad(words(&error)))?,
    };
    match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
        Err(error) => return Err(bad(words(&error))),
    }
    modules.insert(path.to_owned(), module.clone());
    Ok(module)
}

/// The module forgets what it knows of slots, sessions and logins; another token of the same module notices, and begins
/// anew as well.
fn finalize(modules: &Modules, path: &Path) {
    if let Some(module) = modules.get(path) {
        // One that was not initialised says so.
        let _ = module.clone().finalize();
    }
}

fn slot(module: &Pkcs11, name: &TokenName) -> Result<(Slot, TokenInfo), KeyError> {
    let slots = module.get_slots_with_token().map_err(failed)?;
    // A token that is just being taken out gives no information.
    let informed = slots.into_iter().filter_map(|slot| Some((slot, module.get_token_info(slot).ok()?)));
    let mut found = informed.filter(|(_, info)| name.is_of(info));
    match (found.next(), found.next()) {
        (None, _) => Err(KeyError::NoToken(name.to_string())),
        (Some(found), None) => Ok(found),
        (Some(_), Some(_)) => Err(KeyError::ManyTokens(name.to_string())),
    }
}

impl TokenName {
    fn is_of(&self, info: &TokenInfo) -> bool {
        let is = |wanted: &Option<String>, has: &str| wanted.as_ref().is_none_or(|wanted| wanted == has);
        info.token_initialized()
            && is(&self.label, info.label())
            && is(&self.manufacturer, info.manufacturer_id())
            && is(&self.model, info.model())
            && is(&self.serial, info.serial_number())
    }
}

/// A login belongs to the process: another session may have made it.
fn logged_in(login: Result<(), Error>) -> Result<(), Error> {
    match login {
        Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
        login => login,
    }
}

pub(super) fn failed(error: Error) -> KeyError {
    KeyError::Failed(words(&error))
}

/// The standard's name of an error: its own text for each is a paragraph.
fn words(error: &Error) -> String {
    match error {
        Error::Pkcs11(value, function) => format!("{value:?} from C_{function:?}"),
        error => error.to_string(),
    }
}

/// Does `work` so that no other task of this thread's runtime waits with it: a TPM takes a good part of a second for a
/// signature, and rustls asks for it in the middle of a handshake.
fn aside<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whoever panicked left a session that fails and is begun anew, or one that is good.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_that_is_none_is_named() {
        for (path, reason) in [("/no/such/module.so", "No such file"), ("/dev/null", "")] {
            let uri = format!("pkcs11:token=t;object=o?module-path={path}").parse().unwrap();
            let error = Token::new(uri, "/proc/no/folder".into()).with(|_| Ok(())).unwrap_err();
            let KeyError::Module { module, reason: said } = &error else { panic!("{error}") };
            assert!(module == Path::new(path) && said.contains(reason), "{error}");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_slow_token_holds_up_no_other_task() {
        let (tell, told) = std::sync::mpsc::channel();
        let slow = tokio::spawn(async move { aside(|| told.recv()) });
        // On the one worker, which the slow one has as well.
        tokio::spawn(async move { tell.send(()) }).await.unwrap().unwrap();
        slow.await.unwrap().unwrap();
    }
}
