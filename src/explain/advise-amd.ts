/** AMD-Vi: what events usually come from. */
import { type Field, type Fields, getNumber, wordsFromU64 } from '../base/layout.ts'
import { hi32, lo32 } from '../base/u64.ts'
import { checkDte, checkDteInterrupts, DTE_RULES } from '../format/amdvi/check.ts'
import { DTE } from '../format/amdvi/dte.ts'
import { EVENT_IO_PAGE_FAULT, EVENTS } from '../format/amdvi/events.ts'
import { featuresOf } from '../format/amdvi/features.ts'
import { FULL_EXT_FEATURE } from '../format/amdvi/registers.ts'
import { type Advice, type Case, isKind } from './advice.ts'
import type { Finding } from './report.ts'

export function amdMeaning({ finding }: Case): string | null {
  const { name, fields } = finding.report
  for (const event of EVENTS.values()) {
    if (event.name !== name) continue
    const flags = Array.isArray(fields.flags) ? fields.flags.map(String) : []
    const bits = flags.map((flag) => `${flag}: ${flagSays(flag, event.layout.fields[flag])}`).join('; ')
    const about = typeof fields.request === 'string' ? `${event.what}: ${fields.request}` : event.what
    return bits === '' ? about : `${about} (${bits})`
  }
  if (name === 'RMP_HW_ERROR') return 'the reverse map table could not be read'
  if (/Completion-Wait|COMPLETION_WAIT|Command buffer/i.test(name ?? ''))
    return 'the IOMMU did not get to the end of its command buffer in time: a command before it does not complete'
  return null
}

/** What a set flag says. */
function flagSays(name: string, field: Field | undefined): string {
  const known = field ?? (EVENT_IO_PAGE_FAULT.fields as Fields)[name]
  return (known?.kind === 'oneOf' ? known.names[1] : known?.doc) ?? 'set'
}

/** How QEMU's model writes the fault of a DMA: as an interrupt (I) that has neither address nor domain. No interrupt goes to address 0. */
export function isQemuRecord({ report }: Finding): boolean {
  const { name, address, pasid, fields } = report
  const flags = Array.isArray(fields.flags) ? fields.flags : []
  // Where GN is set, the same field is a PASID.
  const tag = pasid ?? fields.domain
  return name === 'IO_PAGE_FAULT' && address === '0x0' && tag === 0 && flags.includes('I') && !flags.includes('PR')
}

export function adviseAmd(of: Case, advice: Advice): void {
  const { report } = of.finding
  const { name, fields } = report
  const flags = Array.isArray(fields.flags) ? fields.flags : []
  if (name === 'IO_PAGE_FAULT' && report.kind === 'dma-fault') adviseFault(of, flags, advice)
  else if (isQemuRecord(of.finding)) adviseQemu(flags, advice)
  else if (report.kind === 'interrupt-fault') adviseInterrupt(of, flags, advice)
  else if (name === 'INVALID_DEVICE_REQUEST') {
    advice.causes.push('the device sent what its device table entry does not allow')
    advice.next.push("the device's entry in the device table")
  } else if (name === 'ILLEGAL_DEV_TABLE_ENTRY') adviseEntry(of, flags, advice)
  else if (name === 'IOTLB_INV_TIMEOUT') {
    advice.causes.push(
      'the device did not answer the invalidation of its TLB (ATS): in reset, hung, powered down, or its ATS is broken',
    )
    advice.remarks.push("the printed address is that of the command in the IOMMU's command buffer, not one of DMA")
    advice.next.push('ATS of this device (lspci -vvv); pci=noats or a quirk for the device shows whether it is the cause')
  } else if (report.kind === 'command-timeout') {
    const timeout = of.near.find(({ report: other }) => other.name === 'IOTLB_INV_TIMEOUT')
    if (timeout !== undefined) {
      advice.causes.push(
        `the invalidation at ${timeout.report.device ?? 'a device'} that timed out: a completion wait behind it cannot finish`,
      )
      advice.remarks.push('this and the invalidation time-out have one cause')
    } else
      advice.causes.push(
        'an invalidation that a device does not answer',
        'the IOMMU itself stands still (power management, a fatal error)',
      )
  } else if (name === 'RMP_PAGE_FAULT') {
    advice.causes.push('the page is private to a guest (SEV-SNP): the guest did DMA to memory that it did not share')
    advice.remarks.push(
      'the reverse map table refused, not the I/O page table: mapping the buffer anew does not help, the guest must share it',
    )
    advice.remarks.push('the address is a guest physical one')
  } else if (/_HARDWARE_ERROR|RMP_HW/.test(name ?? '')) {
    advice.causes.push('memory that the IOMMU could not read: a wrong base address, or a hardware error')
    advice.next.push('machine check messages of the same time')
  } else if (name === 'ILLEGAL_COMMAND_ERROR')
    advice.causes.push('the kernel queued a command that this IOMMU does not know, or the buffer was overwritten')
  if (report.device === null && typeof fields.domain === 'number')
    advice.remarks.push(`the device is not in the text; only its domain, 0x${fields.domain.toString(16)}, can be matched`)
}

function adviseFault(of: Case, flags: readonly unknown[], advice: Advice): void {
  const { report } = of.finding
  if (flags.includes('RZ')) advice.causes.push('a page-table entry has reserved bits set: a corrupt table')
  if (flags.includes('PR') && flags.includes('PE')) {
    const done = report.access === 'write' ? 'wrote to' : 'read'
    const only = report.access === 'write' ? 'reads by the device (DMA_TO_DEVICE)' : 'writes by the device (DMA_FROM_DEVICE)'
    advice.causes.push(
      `the page is mapped, only the permission is missing: the device ${done} a buffer that was mapped for ${only}`,
    )
    advice.next.push('the direction that the driver gives when it maps the buffer')
    advice.remarks.push('PR is set: not a stale address')
    return
  }
  if (flags.includes('PR')) return
  if (isKind(of, 'dma-api-32', 'dma-api-top'))
    advice.causes.push(
      'the page is not mapped (PR is 0), and the address is one that the DMA API hands out: stale, the buffer was unmapped while the device still used it',
      'a buffer mapped shorter than what the device uses',
    )
  else
    advice.causes.push(
      'the page is not mapped (PR is 0), and the address does not look like one of the DMA API: a physical address used without mapping, or a wrong one given to the device',
      'memory of firmware for which the IVRS table has no entry (IVMD)',
    )
  if (report.access === null)
    advice.remarks.push('whether it was a read or a write is not known: without PR, a clear RW says nothing')
  else if (report.access === 'write')
    advice.remarks.push(
      'RW is set although PR is 0: the specification gives it a meaning with PR only, Linux counts it as a write',
    )
}

function adviseInterrupt(of: Case, flags: readonly unknown[], advice: Advice): void {
  const { name } = of.finding.report
  if (name === 'INVALID_DEVICE_REQUEST') {
    advice.causes.push(
      "interrupts of this device are not allowed by its device table entry (IntCtl): typically firmware's IVRS table names the IOAPIC or HPET wrongly or not at all",
    )
    advice.remarks.push('flag bits of this event differ from those of IO_PAGE_FAULT: bits 11:9 are the type')
    advice.next.push('dmesg for "IOAPIC not in IVRS table"; a firmware update, or ivrs_ioapic= on the command line')
    return
  }
  advice.remarks.push('I is set: an interrupt, not a memory access, so it has no direction')
  if (flags.includes('PR'))
    advice.causes.push('the interrupt remapping entry is there, and does not permit this interrupt (destination or type)')
  else
    advice.causes.push(
      'the interrupt remapping entry is not valid: the interrupt was freed or is being rewritten while the device raises it',
      'an MSI that the device kept from before a reset or resume',
    )
  advice.next.push('the interrupts of the device (/proc/interrupts) and its MSI-X table')
}

function adviseQemu(flags: readonly unknown[], advice: Advice): void {
  const done = flags.includes('NX') ? 'a write' : flags.includes('GN') ? 'a read' : 'an access'
  advice.causes.push(`in a guest of QEMU: ${done} by DMA that the page tables refuse, and no interrupt`)
  advice.next.push("QEMU's trace (amdvi_page_fault) for the address, and iomm walk for what decided")
  advice.remarks.push(
    "I with address 0 and domain 0: QEMU's model of the AMD IOMMU writes page faults so. The address is lost, GN stands for a read and NX for a write, and the bus of the device is left out: it may be another one",
  )
}

function adviseEntry(of: Case, flags: readonly unknown[], advice: Advice): void {
  const { dte } = of.finding.report.fields
  if (Array.isArray(dte)) {
    const words = new Int32Array(wordsFromU64(dte.map((word) => BigInt(String(word)))))
    const illegal = illegalIn(words)
    if (illegal !== null) advice.causes.push(illegal)
    else {
      advice.remarks.push(
        'no bit of the printed entry is illegal by itself: which bits are reserved depends on the features of this IOMMU and on its control register',
      )
      const features = needs(words)
      if (features.length > 0) advice.remarks.push(`the entry uses ${features.join(', ')}`)
      advice.causes.push(
        'a feature that the entry uses is switched off in the control register: not switched on again after resume',
      )
    }
  } else advice.remarks.push('the entry is not in the text (DTE[0] to DTE[3]): which bit is illegal cannot be told')
  if (flags.includes('RZ'))
    advice.remarks.push('RZ: a bit that has to be zero is not; without RZ, a level encoding would be the fault')
  advice.next.push(
    'whether it begins at resume: then a control register was not restored',
    'the features that the IOMMU announces (dmesg: Extended features)',
  )
}

/** All that a specification of today knows, switched on. */
const EVERYTHING = featuresOf(hi32(FULL_EXT_FEATURE), lo32(FULL_EXT_FEATURE), -1, -1)

/** What is wrong with an entry whatever features there are. */
function illegalIn(words: Int32Array): string | null {
  const rule = DTE_RULES[checkDte(words, 0, EVERYTHING) || checkDteInterrupts(words, 0)]
  return rule === undefined || rule.text === '' ? null : `the entry is illegal: ${rule.text} (AMD 48882, ${rule.section})`
}

/** Fields of an entry that are legal only with a feature. */
function needs(words: Int32Array): string[] {
  const set = (name: 'PPR' | 'GPRP' | 'GIOV' | 'GV' | 'SATS' | 'vImuEn') => getNumber(words, DTE.fields[name]) === 1
  const found: string[] = []
  if (set('PPR') || set('GPRP')) found.push('PPR (page requests: EXT_FEATURE.PPRSup, CONTROL.PPREn, CONTROL.EPHEn)')
  if (set('GV')) found.push('GV (guest tables: EXT_FEATURE.GTSup, CONTROL.GTEn)')
  if (set('GIOV')) found.push('GIOV (EXT_FEATURE.GIOSup)')
  if (set('SATS')) found.push('SATS (secure ATS)')
  if (set('vImuEn')) found.push('vImuEn (virtual IOMMU)')
  return found
}
