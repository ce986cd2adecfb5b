/** RISC-V: what causes usually come from. */
import { CAUSES, isGuestPageFault } from '../format/riscv/records.ts'
import { type Advice, adviseStream, type Case, isKind } from './advice.ts'

export function riscvMeaning({ finding }: Case): string | null {
  const { code, kind } = finding.report
  if (code === null) return kind === 'command-timeout' ? 'the driver waited for a command that did not complete in time' : null
  const name = CAUSES[code]
  if (name === undefined) return `cause ${code}: unknown to the RISC-V IOMMU specification 1.0`
  const stage = isGuestPageFault(code)
    ? ', by the second stage'
    : code === 12 || code === 13 || code === 15
      ? ', by the first stage (or the only one)'
      : ''
  const own = code < 256 ? 'the same number as the exception of a CPU' : 'of the IOMMU alone'
  return `cause ${code} (${own}): ${uncapitalized(name)}${stage}`
}

/** `Read page fault` inside of a sentence; `MRIF` stays what it is. */
function uncapitalized(name: string): string {
  return /^[A-Z][a-z]/.test(name) ? `${name.charAt(0).toLowerCase()}${name.slice(1)}` : name
}

export function adviseRiscv(of: Case, advice: Advice): void {
  const { report } = of.finding
  const { code, fields } = report
  if (code === null) return
  if (report.device !== null)
    advice.remarks.push('the driver prints neither the process id (PASID) nor the type of the transaction')
  else advice.remarks.push('device, address and time are not in the text: only the cause can be explained')
  adviseStream(of, advice)
  if (report.access === 'write' && code < 256) advice.remarks.push('"write" includes atomic operations')
  if (code === 12 || code === 13 || code === 15) {
    if (isKind(of, 'dma-api-32', 'dma-api-top'))
      advice.causes.push('a stale address: the buffer was unmapped while the device still used it')
    else advice.causes.push('no mapping, or one that does not permit it: a buffer that was not mapped, or no longer')
    advice.causes.push(
      'rare and under load, with several CPUs that map at once: a race in the code that writes page tables (a missing barrier), not the device',
    )
  } else if (isGuestPageFault(code)) advice.causes.push('the guest gave the device an address that the second stage does not map')
  else if (code === 1 || code === 5 || code === 7)
    advice.causes.push('the address that came out cannot be accessed: no memory there, or protected (PMP)')
  else if (code === 256) advice.causes.push('the IOMMU is off (ddtp.iommu_mode = Off): nothing is set up, or it was reset')
  else if (code === 258)
    advice.causes.push(
      'no device context for the device: it is not attached, or its device_id is not what firmware says (iommu-map)',
    )
  else if (code === 266) advice.causes.push('no process context for the process id: DMA before bind or after unbind')
  else if (code === 259 || code === 267 || code === 263)
    advice.causes.push('an entry with reserved bits or values that this IOMMU does not have')
  else if (code === 260)
    advice.causes.push(
      'the device context does not allow this kind of transaction (ATS off, no process ids, a device_id that is too wide)',
    )
  else if (code === 262) advice.causes.push('an MSI to an interrupt file that is not mapped for the device')
  else if (code === 264)
    advice.causes.push('the memory-resident interrupt file could not be accessed: no memory there, or protected')
  else if (code === 273)
    advice.causes.push(
      "the IOMMU's own MSI (or the notice of an interrupt file) could not be written: a wrong address in its MSI table",
    )
  else if (code === 257 || code === 261 || code === 265)
    advice.causes.push('an entry could not be read: a wrong base address, or memory that is off or protected')
  if (code > 260 && [261, 262, 263, 264, 270, 271, 273].includes(code))
    advice.remarks.push('about the delivery of an MSI, not about data')
  if (fields.vendor_suffix !== undefined)
    advice.remarks.push("what follows iotval2 is an addition of this kernel, and not Linux's own")
}
