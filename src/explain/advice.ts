/** What an explanation collects: causes, the likely ones first; what to look at; what to know about the report itself. */
import type { AddressKind } from './address.ts'
import type { LogContext } from './context.ts'
import type { Finding } from './report.ts'

export interface Advice {
  readonly causes: string[]
  readonly next: string[]
  readonly remarks: string[]
}

/** What a rule may look at. */
export interface Case {
  readonly finding: Finding
  /** Kinds of its address, the most telling first. */
  readonly kinds: readonly AddressKind[]
  readonly context: LogContext
  /** Other findings of the same device in this log, this one left out. */
  readonly others: readonly Finding[]
  /** The other findings that are next to it in the log. */
  readonly near: readonly Finding[]
}

export function newAdvice(): Advice {
  return { causes: [], next: [], remarks: [] }
}

/** Whether the address is of one of these kinds. */
export function isKind({ kinds }: Case, ...wanted: readonly AddressKind['kind'][]): boolean {
  return kinds.some(({ kind }) => wanted.includes(kind))
}

/** Page of an address. */
export function pageOf(address: string | null): bigint | null {
  return address === null ? null : BigInt(address) >> 12n
}

/** What follows from the address alone, whatever IOMMU refused it. */
export function adviseByAddress(of: Case, advice: Advice): void {
  const { report } = of.finding
  if (isKind(of, 'null')) {
    advice.causes.push(
      'a descriptor of the device holds 0 in place of an address: it was not filled in, or was read before it was',
    )
    advice.next.push("the driver's descriptors at the time of the fault")
  }
  const region = of.kinds.find(({ kind }) => kind === 'known-region')
  if (region !== undefined && /system memory/.test(region.says)) {
    advice.causes.push('the device uses a physical address: its driver (or its firmware) bypasses the DMA API')
    advice.next.push('how the driver gets the address that it gives to the device: it has to come from dma_map_* or dma_alloc_*')
  } else if (region !== undefined && /RMRR/.test(region.says)) {
    advice.causes.push(
      'a reserved region of firmware that is not mapped for this requester: it names another device, or is ignored',
    )
    advice.next.push('the devices that the RMRR names (the DMAR table: acpidump, iasl)')
  } else if (region !== undefined) {
    advice.causes.push(
      "firmware, or the device's own firmware, owns a buffer there and uses it on: no reserved region tells the kernel to map it",
    )
    advice.next.push("the firmware's reserved regions for this device (RMRR, IVMD, RMR): a firmware update may add it")
  }
  if (isKind(of, 'its-doorbell')) {
    advice.causes.push(
      'an MSI: the page of the doorbell is not mapped in the domain that the device is attached to, so its interrupts are lost',
    )
    advice.next.push('whether interrupts of the device arrive (/proc/interrupts), and which domain its MSI page was mapped in')
  }
  if (isKind(of, 'kernel-pointer')) {
    advice.causes.push('the driver gave a virtual address of the kernel to the device')
    advice.next.push('the driver: dma_map_single() gives the address that a device may use')
  }
  if (isKind(of, 'user-pointer') && report.pasid === null) {
    advice.causes.push(
      "a process's pointer without PASID: the device (or its queue) was not given the PASID, or shared virtual addressing is off",
    )
    advice.next.push('whether PASID is enabled at the device (lspci -vvv) and the process is bound')
  }
  if (isKind(of, 'user-pointer') && report.pasid !== null)
    advice.next.push(`which process is bound with PASID ${report.pasid}, and its mappings at that time`)
  const pages = new Set(of.others.map(({ report: other }) => pageOf(other.address)))
  const page = pageOf(report.address)
  if (page !== null && (pages.has(page + 1n) || pages.has(page - 1n)))
    advice.remarks.push('neighbouring pages fault too: one buffer, mapped too short, unmapped too early, or never mapped')
  const again = of.others.some((other) => other.report.address === report.address)
  if (report.address !== null && again && !isKind(of, 'dma-api-32', 'dma-api-top', 'null'))
    advice.remarks.push('the same address again: a fixed buffer, rather than one that is mapped anew for each transfer')
}

/** What is to be known where messages or records were lost. */
export function adviseLosses({ finding }: Case, advice: Advice): void {
  const { suppressed_messages: suppressed, fault_status_flags: status } = finding.report.fields
  if (typeof suppressed === 'number')
    advice.remarks.push(`${suppressed} earlier messages were suppressed by the rate limit: counts say nothing`)
  if (Array.isArray(status) && status.includes('PFO'))
    advice.remarks.push('PFO is set: the hardware had no free fault record and lost faults, so the list is incomplete')
}

/** What a StreamID or device id leaves open. */
export function adviseStream({ finding }: Case, advice: Advice): void {
  const { device, fields } = finding.report
  if (device === null) return
  if (device.startsWith('sid:'))
    advice.next.push(`which device has the id ${device.slice(4)}: firmware's tables say so (iommus, iommu-map; IORT, RIMT)`)
  else if (fields.sid !== undefined) {
    const offset = Number(fields.sid) - requesterOf(device)
    if (offset > 0 && offset % 0x10000 === 0)
      advice.remarks.push(
        `the StreamID is an offset and the requester ID: ${fields.sid} = 0x${offset.toString(16)} + ${device.slice(-7)}`,
      )
    advice.next.push('if the named device is a bridge: which devices behind it share its StreamID (iommu-map-mask)')
  }
}

/** The requester ID of a PCI address. */
function requesterOf(device: string): number {
  const [bus = '0', slot = '0', fn = '0'] = device.slice(-7).split(/[:.]/)
  return Number.parseInt(bus, 16) * 256 + Number.parseInt(slot, 16) * 8 + Number(fn)
}
