use super::*;

#[test]
fn a_folder_is_taken_once_and_free_again_when_its_lock_goes() {
    let place = tempfile::tempdir().unwrap();
    let folder = Folder::new(place.path().join("deep").join("agent"));
    assert!(!folder.is_locked().unwrap());
    let lock = folder.lock().unwrap();
    assert!(folder.is_locked().unwrap());
    assert!(matches!(folder.lock(), Err(StateError::Locked { holder: Some(_), .. })));
    drop(lock);
    assert!(!folder.is_locked().unwrap());
    folder.lock().unwrap();
}

#[test]
fn a_public_file_is_for_everybody_and_replaced_whole() {
    use std::os::unix::fs::PermissionsExt;
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("status.json");
    write_public(&path, b"a longer first content").unwrap();
    write_public(&path, b"second").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"second");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
}

#[test]
fn a_folder_without_identity_says_so() {
    let place = tempfile::tempdir().unwrap();
    let folder = Folder::new(place.path());
    assert!(!folder.is_enrolled());
    assert!(matches!(folder.device(), Err(StateError::NotEnrolled(_))));
}

#[test]
fn a_lock_that_is_a_link_is_not_followed() {
    let place = tempfile::tempdir().unwrap();
    let victim = place.path().join("victim");
    fs::write(&victim, b"of somebody else").unwrap();
    let folder = Folder::new(place.path().join("agent"));
    fs::create_dir(folder.path()).unwrap();
    std::os::unix::fs::symlink(&victim, folder.path().join("lock")).unwrap();
    assert!(matches!(folder.lock(), Err(StateError::Io { .. })));
    assert_eq!(fs::read(&victim).unwrap(), b"of somebody else");
}
