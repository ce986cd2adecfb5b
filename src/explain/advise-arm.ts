/** SMMUv3 and SMMUv2: what events and faults usually come from. */
import { EVENTS } from '../format/smmuv3/events.ts'
import { type Advice, adviseStream, type Case, isKind } from './advice.ts'

export function smmuv3Meaning({ finding }: Case): string | null {
  const { code, kind, name, fields } = finding.report
  const event = code === null ? undefined : EVENTS.get(code)
  if (event !== undefined) {
    const where =
      fields.class === 'CD'
        ? ', when the CD was fetched'
        : fields.class === 'TTD'
          ? ', when a stage 1 table was fetched'
          : fields.class === 'IN'
            ? ', for the address of the device itself'
            : ''
    const stage = typeof fields.stage === 'number' ? `, stage ${fields.stage}` : ''
    const stall = fields.stall === true ? `; the transaction is stalled (tag ${fields.stag})` : ''
    return `event 0x${code!.toString(16).padStart(2, '0')} (Arm IHI 0070, ${event.section}): ${event.meaning}${where}${stage}${stall}`
  }
  if (code !== null) return `event 0x${code.toString(16)}: unknown to the manual`
  if (name === 'CERROR_ILL') return 'the command queue stopped at a command that is illegal'
  if (name === 'CERROR_ABT') return 'the command queue stopped: a command could not be fetched'
  if (name === 'CERROR_ATC_INV_SYNC') return 'a CMD_SYNC found that the invalidation of an ATC (a cache in a device) timed out'
  if (kind === 'command-timeout') return 'the driver waited for a command (CMD_SYNC) that did not complete in time'
  if (/PRI request/.test(name ?? '')) return 'a page request that the driver does not handle: it answers with a denial'
  if (/overflow|lost/.test(name ?? '')) return 'a queue was full: records are lost'
  return null
}

export function adviseSmmuv3(of: Case, advice: Advice): void {
  const { report } = of.finding
  const { name, fields } = report
  adviseStream(of, advice)
  if (fields.stage === 1 && Array.isArray(fields.dwords) && fields.dwords.length === 4)
    advice.remarks.push('the fourth word (IPA) says nothing for a stage 1 fault')
  if (Array.isArray(fields.dwords) && fields.dwords.length < 4)
    advice.remarks.push(`only ${fields.dwords.length} of the four words are in the text`)
  if (name === 'F_TRANSLATION') adviseTranslation(of, advice)
  else if (name === 'F_PERMISSION')
    advice.causes.push(
      `the page is mapped, and does not permit this ${report.access ?? 'access'}: a buffer mapped for the other direction`,
      'an unprivileged access to a privileged page, or the reverse (PnU)',
    )
  else if (name === 'F_ACCESS')
    advice.causes.push(
      'the access flag of the page is clear and the SMMU does not set it: tables shared with CPUs that rely on it',
    )
  else if (name === 'F_ADDR_SIZE')
    advice.causes.push(
      'a table entry points beyond the output address size: a corrupt entry, or a size (IPS, S2PS) that is too small',
    )
  else if (name === 'C_BAD_STREAMID') {
    advice.causes.push(
      'no device of this system owns the StreamID: it is missing in the tables of firmware (iommu-map, IORT), or a requester ID that nobody expected',
    )
    advice.remarks.push(`as a requester ID it would be ${fields.sid === undefined ? 'unknown' : requester(String(fields.sid))}`)
    advice.next.push("the device tree's iommus and iommu-map, or ACPI's IORT, for this StreamID")
  } else if (name === 'C_BAD_STE') {
    advice.causes.push(
      'the stream is not set up: no driver has attached the device, and unknown streams are refused',
      'an entry with illegal fields',
    )
    advice.next.push('the STE: iomm walk shows the rule that it breaks where a dump is at hand')
  } else if (name === 'C_BAD_CD' || name === 'C_BAD_SUBSTREAMID') {
    const who = report.pasid === null ? 'without PASID' : `with PASID ${report.pasid}`
    advice.causes.push(
      report.pasid === null
        ? 'the context descriptor that the stream uses is not valid'
        : `DMA ${who} before it is bound or after it was unbound: no valid context descriptor for it`,
    )
    if (name === 'C_BAD_SUBSTREAMID')
      advice.causes.push('a PASID beyond what the stream table entry allows (S1CDMax), or PASIDs are off for the stream')
    advice.remarks.push('this event has neither an address nor a direction')
    advice.next.push('whether the device stops using the PASID before it is unbound')
  } else if (name === 'F_STREAM_DISABLED')
    advice.causes.push(
      'traffic without PASID from a stream that is set up for PASIDs only, or with PASID 0 where that is taken (S1DSS)',
    )
  else if (name === 'F_TRANSL_FORBIDDEN' || name === 'F_BAD_ATS_TREQ')
    advice.causes.push(
      'the device uses ATS, and the stream table entry does not allow it: ATS left on from before a reset, or switched on too early',
    )
  else if (/FETCH|EABT/.test(name ?? ''))
    advice.causes.push('a table lies where the SMMU cannot read: a wrong base address, memory that is off or protected')
  else if (/CONFLICT/.test(name ?? ''))
    advice.causes.push('an invalidation is missing when tables are changed: two cached entries contradict each other')
  else adviseQueue(of, advice)
}

function adviseTranslation(of: Case, advice: Advice): void {
  if (isKind(of, 'its-doorbell', 'null', 'kernel-pointer', 'user-pointer')) return
  if (isKind(of, 'dma-api-32', 'dma-api-top'))
    advice.causes.push(
      'a stale address: the buffer was unmapped while the device still used it (at shutdown, reset or removal: a descriptor cache that was not invalidated)',
      'a buffer mapped shorter than what the device uses',
    )
  else
    advice.causes.push(
      'an address that the DMA API did not hand out: a physical address used without mapping, or memory of firmware that needs a reserved region (RMR)',
      'a mapping that was made for another device: several requesters share this StreamID, or the buffer was mapped for the wrong one',
    )
}

function adviseQueue(of: Case, advice: Advice): void {
  const { name, kind, fields } = of.finding.report
  if (name === 'CERROR_ILL') {
    const words = Array.isArray(fields.command) ? fields.command : []
    if (words.length > 0 && words.every((word) => BigInt(String(word)) === 0n))
      advice.causes.push('the command is all zeros: its place in the queue was never written, or was overwritten')
    advice.causes.push('a command that this SMMU does not support')
    advice.remarks.push(
      'not a fault of a device; the driver puts a CMD_SYNC in its place and goes on: what the command should have done is not known',
    )
    advice.next.push('the features of the SMMU (dmesg at probe) against the command')
  } else if (name === 'CERROR_ATC_INV_SYNC') {
    advice.causes.push('a device with ATS that does not answer: hung, in reset, removed, or with broken ATS')
    advice.next.push('devices with ATS enabled behind this SMMU (lspci -vvv); pci=noats')
  } else if (kind === 'command-timeout') {
    if (fields.hwcons === '0x0' && fields.hwprod !== '0x0')
      advice.causes.push(
        'the SMMU was reset or disabled (unbound, powered down): its consumer index is 0 while commands are waiting',
      )
    advice.causes.push(
      'an invalidation of a device cache that is not answered',
      'the SMMU stands still: clocks, power, a fatal error',
    )
    advice.next.push('errors of the SMMU or of a device just before')
  }
}

function requester(sid: string): string {
  const id = Number(sid)
  if (!(id >= 0 && id <= 0xffff)) return 'none (it has more than 16 bits: an offset and a requester ID)'
  const two = (value: number) => value.toString(16).padStart(2, '0')
  return `${two(id >>> 8)}:${two((id >>> 3) & 31)}.${id & 7}`
}

export function smmuv2Meaning({ finding }: Case): string | null {
  const { code, kind, name, fields } = finding.report
  const register = kind === 'global-fault' ? 'GFSR' : 'FSR'
  const flags = fields.fsr_flags ?? fields.gfsr_flags
  const set = Array.isArray(flags) ? ` (${flags.join(', ') || 'no flag'})` : ''
  const level = kind === 'dma-fault' && typeof fields.level === 'number' ? `, at level ${fields.level}` : ''
  if (code === null) return name === null ? null : name.toLowerCase()
  return `${register} 0x${code.toString(16)}${set}: ${name === null ? 'no fault bit is set' : name.toLowerCase()}${level}`
}

export function adviseSmmuv2(of: Case, advice: Advice): void {
  const { report } = of.finding
  const { fields } = report
  const flags = (
    Array.isArray(fields.fsr_flags) ? fields.fsr_flags : Array.isArray(fields.gfsr_flags) ? fields.gfsr_flags : []
  ) as unknown[]
  adviseStream(of, advice)
  if (report.kind === 'global-fault') {
    adviseGlobal(flags, report.name, advice)
    return
  }
  if (flags.includes('MULTI'))
    advice.remarks.push('MULTI: further faults came while this one was pending; they are not described')
  if (flags.includes('SS')) advice.remarks.push('SS: the transaction is stalled until the driver resumes it')
  if (report.access === 'execute')
    advice.causes.push(
      'a processor behind the SMMU that runs its own firmware: its memory needs a reserved region with an identity mapping (IORT RMR), or a bypass',
    )
  if (flags.includes('TF')) {
    if (isKind(of, 'dma-api-32', 'dma-api-top'))
      advice.causes.push(
        'a stale address: the buffer was unmapped while the device still used it',
        'a buffer mapped shorter than what the device uses',
      )
    else if (!isKind(of, 'its-doorbell', 'null', 'kernel-pointer'))
      advice.causes.push(
        'a physical address used without mapping, or memory of firmware or boot loader (a frame buffer that is still shown)',
        'a buffer that was mapped for another device than the one whose StreamID this is (a DMA engine and its client)',
      )
  }
  if (flags.includes('PF'))
    advice.causes.push(
      'the page is mapped and does not permit this access: a buffer mapped for the other direction, or for privileged accesses only',
    )
  if (flags.includes('EF'))
    advice.causes.push(
      'a table or the memory behind it answered with an error: a wrong base address, or memory that is off or protected',
    )
  if (flags.includes('AFF')) advice.causes.push('the access flag of the page is clear')
  if (flags.includes('ASF')) advice.causes.push('an entry points beyond the output address size')
  if (typeof fields.cb === 'number' && typeof fields.s1cbndx === 'number' && fields.cb !== fields.s1cbndx)
    advice.remarks.push(`S1CBNDX (${fields.s1cbndx}) means nothing here: the context bank is ${fields.cb}`)
  if (fields.software_walk === 'failed') advice.remarks.push("the driver's own walk of the tables found no mapping either")
  else if (typeof fields.software_walk === 'string')
    advice.remarks.push(`the driver's own walk finds ${fields.software_walk}: mapped by now, or a stale TLB entry`)
}

function adviseGlobal(flags: readonly unknown[], name: string | null, advice: Advice): void {
  advice.remarks.push('no context bank took the transaction: no page table was reached')
  if (flags.includes('ICF')) {
    advice.causes.push(
      'the stream is known, and its entry (S2CR) says fault: the device is not attached, and unmanaged streams are refused',
    )
    advice.next.push('arm-smmu.disable_bypass=0 shows whether that is all; then describe the device in the firmware tables')
  }
  if (flags.includes('USF') || name === 'Unidentified stream fault') {
    advice.causes.push(
      'no stream-match entry for the StreamID: it is missing in the device tree (iommus, iommu-map), or firmware left a device running',
    )
    advice.next.push("the device tree's iommus for this StreamID")
  }
  if (flags.includes('SMCF')) advice.causes.push('two stream-match entries match the StreamID: overlapping masks')
  if (flags.length === 1 && flags[0] === 'MULTI')
    advice.remarks.push(
      'MULTI alone: another fault came while the first was handled; the syndrome registers still describe the first',
    )
}
