//! The ten lines of the README; a test compares the two texts and runs this one.

use lsm_engine::{Db, WriteBatch};

fn main() -> Result<(), lsm_engine::Error> {
    let db = Db::open("animals.db")?;
    db.put("zebra", "striped")?;

    let mut batch = WriteBatch::new();
    batch.put("lion", "tawny");
    batch.delete("zebra");
    db.write(batch)?;

    for item in db.range("a".."m") {
        let (animal, colour) = item?;
        println!("{} is {}", String::from_utf8_lossy(&animal), String::from_utf8_lossy(&colour));
    }
    db.close()
}
