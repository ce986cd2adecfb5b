/** Texts that people have, as evidence: kernel logs, `lspci -vvv`, a command line, `/proc/cpuinfo`, a kernel configuration. Told apart by content. */
import { stripPrefixes } from '../lines.ts'
import type { DeviceEvidence, Evidence, IommuEvidence } from './contract.ts'
import { isDeviceLine, parseLspci } from './lspci.ts'

export type TextKind = 'lspci' | 'log' | 'command line' | 'cpuinfo' | 'configuration'

/** Lines longer than this are cut; texts with more lines are read to this one. */
const LONGEST = 16_384
const LINES = 1_000_000

export interface TextEvidence extends Evidence {
  readonly kind: TextKind
}

/** What a text tells. Anything that is nothing else counts as a kernel log. */
export function readText(text: string): TextEvidence {
  const lines = text.split(/\r?\n/, LINES).map((line) => line.slice(0, LONGEST))
  const nothing: Evidence = { iommus: [], devices: [], commandLine: null, messages: [], cpuFlags: null, config: null }
  const full = lines.filter((line) => line.trim() !== '')
  if (full.some(isDeviceLine) && full.some((line) => /^\s+(?:Capabilities|Control|Subsystem|Kernel driver in use):/.test(line)))
    return { ...nothing, kind: 'lspci', devices: parseLspci(lines) }
  if (full.some((line) => /^(?:CONFIG_\w+=|# CONFIG_\w+ is not set)/.test(line)))
    return { ...nothing, kind: 'configuration', config: configOf(full) }
  const flags = full.map((line) => /^flags\s*: (.*)$/i.exec(line)?.[1]).find((found) => found !== undefined)
  if (flags !== undefined) return { ...nothing, kind: 'cpuinfo', cpuFlags: new Set(flags.split(' ')) }
  if (
    full.length === 1 &&
    !/^\s*[[<]/.test(full[0]!) &&
    /(?:^|\s)(?:BOOT_IMAGE|root|console|quiet|ro|rw|\w*iommu\S*)(?:=|\s|$)/.test(full[0]!)
  )
    return { ...nothing, kind: 'command line', commandLine: full[0]!.trim() }
  return { ...nothing, kind: 'log', ...logOf(full) }
}

function configOf(lines: readonly string[]): Map<string, string> {
  const config = new Map<string, string>()
  for (const line of lines) {
    const match = /^(CONFIG_\w+)=(.*)$/.exec(line)
    if (match !== null) config.set(match[1]!, match[2]!)
  }
  return config
}

/** What boot messages tell of IOMMUs. The forms of Linux: drivers/iommu/intel/dmar.c, amd/init.c, arm/arm-smmu-v3. */
function logOf(lines: readonly string[]): Pick<Evidence, 'iommus' | 'commandLine' | 'messages'> {
  const iommus = new Map<string, IommuEvidence>()
  const messages: string[] = []
  let commandLine: string | null = null
  for (const line of lines) {
    const text = stripPrefixes(line)
    commandLine ??= /^(?:Kernel )?command line: (.*)$/i.exec(text)?.[1] ?? null
    if (/DMAR|AMD-Vi|smmu|riscv,iommu|iommu|SVA|SVM|PASID|MMU/i.test(text)) messages.push(text)
    const found = vtdLine(text) ?? amdLine(text) ?? smmuLine(text)
    if (found !== null) iommus.set(found.name, found)
  }
  return { iommus: [...iommus.values()], commandLine, messages }
}

const registersOf = (values: Readonly<Record<string, bigint>>) => (name: string) => values[name] ?? null

function vtdLine(text: string): IommuEvidence | null {
  const match =
    /DMAR: (?:(dmar\d+): |IOMMU (\d+): )?reg_base_addr [0-9a-f]+ ver \d+:\d+ cap ([0-9a-f]{1,16}) ecap ([0-9a-f]{1,16})/i.exec(
      text,
    )
  if (match === null) return null
  const registers = { CAP: BigInt(`0x${match[3]}`), ECAP: BigInt(`0x${match[4]}`) }
  return { kind: 'vtd', name: match[1] ?? `dmar${match[2] ?? ''}`, register: registersOf(registers), facts: new Map() }
}

function amdLine(text: string): IommuEvidence | null {
  const match = /^(?:pci ([0-9a-f:.]+): )?AMD-Vi: Extended features \((0x[0-9a-f]{1,16})(?:, 0x[0-9a-f]{1,16})?\)/i.exec(text)
  if (match === null) return null
  return {
    kind: 'amdvi',
    name: match[1] ?? 'AMD-Vi',
    register: registersOf({ EXT_FEATURE: BigInt(match[2]!) }),
    facts: new Map(),
  }
}

function smmuLine(text: string): IommuEvidence | null {
  const match = /arm-smmu-v3 (\S+): ias (\d{1,3})-bit, oas (\d{1,3})-bit \(features (0x[0-9a-f]{1,16})\)/i.exec(text)
  if (match === null) return null
  const facts = new Map([
    ['ias', BigInt(match[2]!)],
    ['oas', BigInt(match[3]!)],
    ['linux-features', BigInt(match[4]!)],
  ] as const)
  return { kind: 'smmuv3', name: match[1]!, register: () => null, facts: new Map<string, bigint>(facts) }
}

/** All evidence together. What is told twice counts as the first one told it. */
export function joined(parts: readonly Evidence[]): Evidence {
  const first = <T>(of: (part: Evidence) => T | null): T | null => parts.map(of).find((value) => value !== null) ?? null
  const devices = new Map<string, DeviceEvidence>()
  for (const device of parts.flatMap((part) => part.devices)) if (!devices.has(device.name)) devices.set(device.name, device)
  return {
    iommus: oneOfEach(parts.flatMap((part) => part.iommus)),
    devices: [...devices.values()],
    commandLine: first((part) => part.commandLine),
    messages: parts.flatMap((part) => part.messages),
    cpuFlags: first((part) => part.cpuFlags),
    config: first((part) => part.config),
  }
}

/** A capture has the registers of one IOMMU, and its log tells of the same: what only the log says is added. */
function oneOfEach(iommus: readonly IommuEvidence[]): IommuEvidence[] {
  const out: IommuEvidence[] = []
  for (const iommu of iommus) {
    const same = out.findIndex((one) => one.name === iommu.name || (one.kind === iommu.kind && one.name === one.kind))
    if (same < 0) out.push(iommu)
    else {
      const one = out[same]!
      out[same] = {
        ...one,
        name: iommu.name,
        register: (name) => one.register(name) ?? iommu.register(name),
        facts: new Map([...iommu.facts, ...one.facts]),
      }
    }
  }
  return out
}
