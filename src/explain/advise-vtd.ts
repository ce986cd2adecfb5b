/** VT-d: what fault reasons and invalidation errors usually come from. */
import { getNumber, wordsFromU64 } from '../base/layout.ts'
import {
  DEV_TLB_INV_DSC,
  descriptorType,
  P_DEV_TLB_INV_DSC,
  TYPE_DEVICE_TLB,
  TYPE_PASID_DEVICE_TLB,
} from '../format/vtd/descriptors.ts'
import { faultReason } from '../format/vtd/faults.ts'
import { type Advice, type Case, isKind } from './advice.ts'
import { pciOfId } from './report.ts'

/** What the fault reason means, in the specification's words where it has one. */
export function vtdMeaning({ finding }: Case): string | null {
  const { code, kind, name, fields } = finding.report
  if (code === null)
    return kind === 'page-request' ? 'a page request that the kernel answers as invalid' : invalidationMeaning(name, fields)
  const reason = faultReason(code)
  const number = `fault reason 0x${code.toString(16).padStart(2, '0')}`
  return reason === null ? `${number}: unknown to VT-d 4.1` : `${number} (${reason.name}): ${reason.condition}`
}

function invalidationMeaning(name: string | null, fields: Readonly<Record<string, unknown>>): string | null {
  const feature = /^IOMMU feature (\w+) inconsistent/.exec(name ?? '')?.[1]
  if (feature !== undefined)
    return `not all IOMMUs of the system have the feature ${feature}: what needs it is off, for some devices or for all`
  if (/Time-out/.test(name ?? ''))
    return 'a device did not answer the invalidation of its TLB in time; the queue stands until the error is cleared'
  if (/Completion/.test(name ?? '')) return 'a device completed an invalidation that was not asked of it'
  if (/Queue Error/.test(name ?? ''))
    return `the invalidation queue stopped${typeof fields.reason_meaning === 'string' ? `: ${fields.reason_meaning}` : ''}`
  return null
}

export function adviseVtd(of: Case, advice: Advice): void {
  const { report } = of.finding
  if (report.kind === 'interrupt-fault') adviseInterrupt(of, advice)
  else if (report.kind.startsWith('invalidation')) adviseInvalidation(of, advice)
  else if (report.kind === 'page-request') adviseRequest(of, advice)
  else if (report.code !== null) adviseFault(of, report.code, advice)
}

function adviseFault(of: Case, code: number, advice: Advice): void {
  const { report } = of.finding
  const scalable = code >= 0x30 && code !== 0x79
  if (report.device === '0000:00:02.0' && report.access === 'read' && isKind(of, 'below-4g') && code <= 0x07)
    advice.causes.push(
      "at boot: graphics that still reads the firmware's frame buffer while the tables are switched; then it is mostly harmless",
    )
  if (code === 0x01 || code === 0x39) {
    advice.causes.push(
      "nothing is set up for the whole bus: DMA while the IOMMU passes from firmware to kernel (graphics that still shows the firmware's frame buffer), or of a device that was never enumerated",
    )
    advice.remarks.push('the root entry decided: no page table was reached, so whether the address is mapped plays no part')
    advice.next.push('whether it happens at boot only: then it is mostly harmless')
  } else if (code === 0x02 || code === 0x41) {
    advice.causes.push(
      'the requester has no context entry: a function that the kernel does not know (DMA alias, phantom or hidden function), or a device that was removed or not yet attached and does DMA on',
    )
    advice.remarks.push('the context entry decided: no page table was reached, so whether the address is mapped plays no part')
    if (report.device?.endsWith('.0') === true)
      advice.next.push('whether the device was removed, suspended or not yet attached at that time')
    else {
      advice.next.push('a DMA alias quirk in the kernel, if it is an alias')
      if (isKind(of, 'below-4g') && !isKind(of, 'known-region')) {
        advice.causes.push(
          'firmware uses memory of its own through a function that it hides: then it has to tell the kernel (a reserved region, RMRR), or show the function',
        )
        advice.next.push('the boot memory map (dmesg: BIOS-e820): is the address in a reserved range?')
      }
    }
  } else if ([0x05, 0x06, 0x79, 0x85, 0x86].includes(code)) {
    const lacking = code === 0x05 || code === 0x85 ? 'write' : code === 0x79 ? 'read and write' : 'read'
    advice.remarks.push(
      `the tables were walked to an entry without ${lacking} permission; an entry that is absent has neither, so this is mostly "not mapped". A context entry for the requester does exist`,
    )
    if (isKind(of, 'dma-api-32', 'dma-api-top'))
      advice.causes.push(
        'a stale address: the buffer was unmapped while the device still used it (or the device goes on after a reset or at shutdown)',
        `a mapping for the other direction: the device may not ${report.access ?? 'do'} what was mapped for the opposite only`,
        'a mapping that is shorter than what the device uses',
      )
    else if (isKind(of, 'below-4g', 'above-4g') && !isKind(of, 'known-region')) {
      advice.causes.push(
        "memory of firmware for which the DMAR table has no reserved region (RMRR): the device, or its own firmware, uses it behind the driver's back",
        'a physical address in place of one of the DMA API: the driver bypasses it, or the device has an MMU of its own whose tables were not mapped',
      )
      advice.next.push(
        'for a device with an MMU of its own: its tables have to be mapped by the DMA API, or it needs an identity domain',
      )
      advice.next.push('the boot memory map (dmesg: BIOS-e820): is the address in a reserved range?')
    }
  } else if ([0x07, 0x08, 0x09, 0x38, 0x40, 0x50, 0x58, 0x70, 0x73, 0x78, 0x7b].includes(code)) {
    advice.causes.push(
      'an entry points to a table that cannot be read: tables that were switched or freed while in use (kexec, boot, resume), or a corrupt entry',
    )
    advice.remarks.push('an error when a table was fetched, not a missing permission')
  } else if ([0x0a, 0x0b, 0x0c, 0x3a, 0x42, 0x52, 0x5a, 0x72, 0x7a].includes(code)) {
    advice.causes.push(
      'an entry has bits set that this hardware reserves: a feature that it lacks (snoop control, large pages), or a corrupt entry',
    )
    advice.next.push("the IOMMU's capabilities (dmesg: cap, ecap) against what the kernel used")
  } else if (code === 0x04 || code === 0x84 || code === 0x83) {
    advice.causes.push(
      'the address is wider than what the tables or the hardware translate: a corrupt address, or a limit that was not told to the device',
    )
  } else if (code === 0x71 || code === 0x80 || code === 0x81 || code === 0x82) {
    advice.causes.push(
      code === 0x71
        ? 'the process (or the DMA API) has no page there, and the access could not wait for one: page requests are off for the device, or its cached translation was stale'
        : 'the process does not permit this access',
      'the process exited or unmapped the page while the device still worked with its PASID',
    )
    advice.next.push(
      'whether ATS and PRI are enabled at the device (lspci -vvv): without them an access to a page that is not present faults',
    )
  } else if (code === 0x51 || code === 0x59) {
    advice.causes.push('no process or domain is bound with this PASID (any more): DMA before bind or after unbind')
  }
  if (scalable && report.pasid === null && [0x71, 0x59].includes(code))
    advice.remarks.push('no PASID: scalable mode uses the PASID-table entry that the context entry names for such requests')
}

function adviseInterrupt(of: Case, advice: Advice): void {
  const { code } = of.finding.report
  advice.remarks.push('an interrupt, not a memory access: no address, no PASID, no direction')
  if (code === 0x25) {
    advice.causes.push(
      'the MSI was programmed without the remapping interrupt domain (a driver or bridge with an interrupt domain of its own), or before interrupt remapping was switched on',
    )
    advice.remarks.push('a compatibility format interrupt carries no index: the printed one means nothing')
    advice.remarks.push(
      'the message prints no PCI domain: behind a VMD controller Linux lists the device under one of its own (10000 and up)',
    )
    advice.next.push("which interrupt domain the device's MSIs come from (/sys/kernel/debug/irq/domains)")
  } else if (code === 0x26) {
    advice.causes.push(
      'the entry was written for another requester: a bridge or DMA alias between device and root was worked out wrongly',
      'a device that sends interrupts of another one',
    )
    advice.next.push(
      'the aliases and bridges of the device (lspci -t), against the source-id of the entry (debugfs: ir_translation_struct)',
    )
  } else if (code === 0x22) {
    advice.causes.push(
      'the interrupt was freed, or not set up again (resume, kexec, crash kernel), while the device still raises it',
      'a stale MSI or MSI-X entry of the device',
    )
  } else if (code === 0x21)
    advice.causes.push(
      'an MSI that another kernel (before kexec) or firmware programmed, or a corrupt one: its index is beyond the table',
    )
  else if (code === 0x23 || code === 0x24 || code === 0x20)
    advice.causes.push(
      'a corrupt interrupt remapping table or message: bits that this hardware reserves, or memory that cannot be read',
    )
}

function adviseInvalidation(of: Case, advice: Advice): void {
  const { name, device, fields } = of.finding.report
  if (/Time-out/.test(name ?? '')) {
    advice.causes.push(
      'a device that announces ATS and does not answer invalidations: hung, in reset, powered down, removed, or broken',
      'a link that went down while an invalidation was on its way',
    )
    advice.next.push(
      'devices with ATS enabled behind this IOMMU (lspci -vvv: ATSCtl: Enable+); pci=noats or an ATS quirk for the culprit cures it',
    )
  } else if (/Completion/.test(name ?? '')) {
    advice.causes.push('a device that answers invalidations wrongly, or answers one that timed out before')
    advice.next.push('ATS of the device that is named; pci=noats shows whether it is the cause')
  } else if (/Queue/.test(name ?? '')) {
    advice.causes.push('the kernel queued a descriptor that this hardware does not accept, or the queue was overwritten')
    advice.next.push('the descriptor (QI HEAD), against the capabilities of the IOMMU')
  }
  const suspect = suspectOf(fields.queue_head) ?? suspectOf(fields.queue_prior)
  if (suspect !== null) advice.remarks.push(`the printed descriptor invalidates the TLB of ${suspect}: the likely device`)
  if (device === null && fields.source_id === '0x0')
    advice.remarks.push('source-id 0 is no device here: this hardware does not report which one it was')
  if (fields.source_id === '0xffff' || fields.reason === 15)
    advice.remarks.push(
      'all ones were read: the registers of the IOMMU did not answer (its bus or a bridge above it was switched off)',
    )
}

/** The device that an invalidation of a device's TLB is for; null for other descriptors. */
function suspectOf(words: unknown): string | null {
  if (!Array.isArray(words) || typeof words[0] !== 'string') return null
  const descriptor = new Uint32Array(8)
  descriptor.set(wordsFromU64([BigInt(words[0])]))
  const type = descriptorType(descriptor[0]!)
  const field =
    type === TYPE_DEVICE_TLB ? DEV_TLB_INV_DSC.fields.SID : type === TYPE_PASID_DEVICE_TLB ? P_DEV_TLB_INV_DSC.fields.SID : null
  return field === null ? null : pciOfId(getNumber(descriptor, field))
}

function adviseRequest(of: Case, advice: Advice): void {
  const { name, device } = of.finding.report
  if (/without PASID/.test(name ?? ''))
    advice.causes.push(
      'a device asks for pages without saying for which process: its PASID capability is off (or broken) while PRI is on',
    )
  else advice.causes.push('no process is bound with that PASID (any more), or the request asks for what is not supported')
  if (device === null) advice.remarks.push('the request itself is not in the text, so the requester is not known')
  const feature = of.near.find(({ report }) => /^IOMMU feature/.test(report.name ?? ''))
  if (feature !== undefined)
    advice.remarks.push(
      'a feature of shared virtual addressing is missing on one of the IOMMUs (see below): devices behind that one cannot have it',
    )
}
