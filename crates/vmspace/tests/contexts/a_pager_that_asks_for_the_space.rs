//! A pager that sleeps would find the region that it was called for split, moved or gone: it is told
//! of none (R29).

struct Files;

impl vmspace::Pager for Files {
    fn page_out(&self, _: &mut MaySleep, pager: u64, _: u64, page: vmspace::Page<'_>, bytes: usize) -> Result<(), vmspace::PagerError> {
        let _ = (pager, page.space(), bytes); //~ forbidden E0599
        let _ = (pager, page.frame(), bytes); //~ allowed
        Ok(())
    }
    fn page_in(&self, _: &mut MaySleep, _: u64, _: u64, _: vmspace::Page<'_>) -> Result<(), vmspace::PagerError> {
        Ok(())
    }
    fn write(&self, _: &mut MaySleep, _: u64, _: u64, from: &[u8]) -> Result<usize, vmspace::PagerError> {
        Ok(from.len())
    }
    fn resize(&self, _: &mut MaySleep, _: u64, _: u64) -> Result<(), vmspace::PagerError> {
        Ok(())
    }
    fn end(&self, _: &mut MaySleep, _: u64) {}
}
