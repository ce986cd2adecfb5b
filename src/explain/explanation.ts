/** A report in words: who, for which process, which address and what kind of address, what was tried, why it was refused, what to do. */

import { type AddressKind, classifyAddress, type KnownRange } from './address.ts'
import { type Advice, adviseByAddress, adviseLosses, type Case, newAdvice } from './advice.ts'
import { adviseAmd, amdMeaning, isQemuRecord } from './advise-amd.ts'
import { adviseSmmuv2, adviseSmmuv3, smmuv2Meaning, smmuv3Meaning } from './advise-arm.ts'
import { adviseRiscv, riscvMeaning } from './advise-riscv.ts'
import { adviseVtd, vtdMeaning } from './advise-vtd.ts'
import type { ParsedLog } from './parse.ts'
import type { PciNames } from './pci-ids.ts'
import type { Finding, LogArch } from './report.ts'
import { whoSays } from './who.ts'

export interface Explanation {
  /** One line: `DMA write to 0xfffc0000 by 0000:03:00.1 refused: Present bit in context entry is clear`. */
  readonly headline: string
  readonly who: string
  /** With which PASID; null where the report is not about a transaction. */
  readonly pasid: string | null
  /** What kinds of address it may be, the most telling first; null where there is no address. */
  readonly address: { readonly value: string; readonly kinds: readonly AddressKind[] } | null
  /** What the code means; null where there is nothing to say. */
  readonly meaning: string | null
  /** The likely ones first. */
  readonly causes: readonly string[]
  readonly next: readonly string[]
  /** What to know about this report, and about its text. */
  readonly remarks: readonly string[]
}

/** What a machine beside the log adds. */
export interface Surroundings {
  readonly names?: PciNames | null
  /** Regions that are known of beside those in the log. */
  readonly ranges?: readonly KnownRange[]
}

interface ArchWords {
  meaning(of: Case): string | null
  advise(of: Case, advice: Advice): void
}

const WORDS: Readonly<Record<LogArch, ArchWords>> = {
  'intel-vtd': { meaning: vtdMeaning, advise: adviseVtd },
  'amd-vi': { meaning: amdMeaning, advise: adviseAmd },
  'arm-smmuv3': { meaning: smmuv3Meaning, advise: adviseSmmuv3 },
  'arm-smmuv2': { meaning: smmuv2Meaning, advise: adviseSmmuv2 },
  'riscv-iommu': { meaning: riscvMeaning, advise: adviseRiscv },
}

export const ARCH_TITLES: Readonly<Record<LogArch, string>> = {
  'intel-vtd': 'Intel VT-d',
  'amd-vi': 'AMD-Vi',
  'arm-smmuv3': 'Arm SMMUv3',
  'arm-smmuv2': 'Arm SMMUv2',
  'riscv-iommu': 'RISC-V IOMMU',
}

const SVA_MEANING = 'shared virtual addressing (the device uses the addresses of processes, by PASID) could not be set up'

/** Findings of a device that are looked at together. */
const NEAR = 8

/** Explains each finding of a log, in its order. */
export function explainFindings(log: Pick<ParsedLog, 'findings' | 'context'>, surroundings: Surroundings = {}): Explanation[] {
  const { findings, context } = log
  const ranges = [...context.ranges, ...(surroundings.ranges ?? [])]
  return findings.map((finding, index) => {
    const near = findings.slice(Math.max(0, index - NEAR), index + NEAR + 1).filter((other) => other !== finding)
    const { device, address, pasid, access } = finding.report
    const kinds =
      address === null || isQemuRecord(finding)
        ? []
        : classifyAddress(BigInt(address), { arch: finding.arch, pasid, access, ranges })
    const others = device === null ? [] : near.filter(({ report }) => report.device === device)
    return explainCase({ finding, kinds, context, others, near }, surroundings.names ?? null)
  })
}

function explainCase(of: Case, names: PciNames | null): Explanation {
  const { finding, kinds } = of
  const { report } = finding
  const advice = newAdvice()
  const words = WORDS[finding.arch]
  const who = whoSays(of, names, advice)
  if (report.kind === 'sva-unavailable') adviseSva(of, advice)
  else {
    if (report.kind === 'dma-fault' || report.kind === 'interrupt-fault') adviseByAddress(of, advice)
    words.advise(of, advice)
  }
  adviseLosses(of, advice)
  const unknown = report.kind === 'other' && advice.causes.length === 0
  return {
    headline: headlineOf(finding),
    who,
    pasid: pasidSays(of),
    address: report.address === null ? null : { value: report.address, kinds },
    meaning:
      (report.kind === 'sva-unavailable' ? SVA_MEANING : words.meaning(of)) ??
      (unknown ? 'what this message means in detail is not known here' : null),
    causes: unique(advice.causes),
    next: unique(advice.next),
    remarks: unique([...advice.remarks, ...finding.notes]),
  }
}

function adviseSva({ near }: Case, advice: Advice): void {
  const feature = near.find(({ report }) => /^IOMMU feature/.test(report.name ?? ''))
  if (feature !== undefined) advice.causes.push(`${feature.report.name}: at least one IOMMU of the system lacks it`)
  advice.causes.push(
    'the IOMMU of the device lacks PASID or page requests, or they are off (scalable mode off in firmware or on the command line)',
    'the device lacks ATS, PRI or PASID, or a bridge above it does not pass PASIDs',
  )
  advice.next.push('lspci -vvv of the device (ATS, PRI, PASID: Enable+), and the kernel command line (intel_iommu=on,sm_on)')
}

/** A request's PASID, or that it has none: only where there was a request. */
function pasidSays({ finding }: Case): string | null {
  const { kind, pasid, device } = finding.report
  if (pasid !== null) return `PASID ${pasid} (0x${pasid.toString(16)})`
  if (kind === 'interrupt-fault' || (kind !== 'dma-fault' && kind !== 'page-request' && kind !== 'config')) return null
  if (device === null) return null
  if (finding.arch === 'riscv-iommu' || finding.arch === 'arm-smmuv2') return 'not in the text'
  if (finding.report.fields.ssid_valid === null) return 'none, or 0 (this form of the message does not tell which)'
  return 'none: a request without PASID'
}

const TRIED = { read: 'read', write: 'write', execute: 'instruction fetch' } as const

/** What happened, in a line. */
export function headlineOf({ report, arch }: Finding): string {
  const { kind, access, address, device, name } = report
  const by = device === null ? '' : ` by ${device}`
  const at = address === null ? '' : ` ${access === 'write' ? 'to' : access === null ? 'at' : 'of'} ${address}`
  const why = name === null ? '' : `: ${name}`
  switch (kind) {
    case 'dma-fault':
      return `DMA ${access === null ? 'access' : TRIED[access]}${at}${by} refused${why}`
    case 'interrupt-fault':
      return `interrupt${by}${address === null ? '' : ` (${address})`} refused${why}`
    case 'page-request':
      return `page request${at}${by} refused${why}`
    case 'device-table':
      return `device table entry${device === null ? '' : ` of ${device}`}${why}`
    case 'config':
      return `configuration${device === null ? '' : ` of ${device}`}${why}`
    case 'global-fault':
      return `transaction${by} refused before any context${why}`
    case 'sva-unavailable':
      return `no shared virtual addressing${device === null ? '' : ` for ${device}`}${why}`
    case 'invalidation-timeout':
    case 'invalidation-error':
      return `invalidation${device === null ? '' : ` at ${device}`} failed${why}`
    case 'command-error':
    case 'command-timeout':
      return `command queue of the ${ARCH_TITLES[arch]}${why}`
    default:
      return `${ARCH_TITLES[arch]}${why}${by}`
  }
}

function unique(lines: readonly string[]): string[] {
  return [...new Set(lines)]
}
