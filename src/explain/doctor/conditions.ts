/**
 * The conditions, by kind of IOMMU, for devices and for the kernel. SYSTEM.md section 7; Arm IHI 0070, 6.3.1 to 6.3.6; Intel VT-d 4.1, 11.4.2
 * and 11.4.3; AMD IOMMU specification (48882), 3.4.3; RISC-V IOMMU 1.0, "IOMMU capabilities"; PCI Express 6.0, 10.5.
 */
import { getField, type Layout, wordsFromU64 } from '../../base/layout.ts'
import { EXT_FEATURE } from '../../format/amdvi/registers.ts'
import { CAPABILITIES } from '../../format/riscv/registers.ts'
import { CR0, IDR0, IDR1, IDR5 } from '../../format/smmuv3/registers.ts'
import { CAP, ECAP, RTADDR } from '../../format/vtd/registers.ts'
import { type Answer, Answers, type DeviceEvidence, type Evidence, type IommuEvidence, option } from './contract.ts'

const OTHER_HARDWARE = 'only other hardware, firmware or another hypervisor setting changes it'
const TELL_REGISTERS = 'give a capture, or the kernel log of the boot: it has the registers'

/** Fields of one register: with their values for `because`. */
class Fields {
  readonly #layout: Layout
  readonly #words: Uint32Array | null

  constructor(iommu: IommuEvidence, layout: Layout, name = layout.name) {
    const value = iommu.register(name)
    this.#layout = layout
    this.#words = value === null ? null : wordsFromU64([value])
  }

  get(field: string): number | null {
    return this.#words === null ? null : Number(getField(this.#words, this.#layout.fields[field]!))
  }

  /** `ECAP.PASID = 0`, or that it is not known. */
  text(...fields: readonly string[]): string {
    const known = fields.map((field) => [field, this.get(field)] as const)
    if (known.some(([, value]) => value === null)) return `${this.#layout.name} is not known`
    return known.map(([field, value]) => `${this.#layout.name}.${field} = ${value}`).join(', ')
  }

  /** Asks that a field is not 0. */
  ask(answers: Answers, condition: string, field: string, otherwise: string = OTHER_HARDWARE): void {
    const value = this.get(field)
    answers.ask(condition, value === null ? null : value !== 0, this.text(field), value === null ? TELL_REGISTERS : otherwise)
  }
}

function vtd(iommu: IommuEvidence, { commandLine, cpuFlags, messages, config }: Evidence): Answer[] {
  const answers = new Answers(iommu.name)
  const cap = new Fields(iommu, CAP)
  const ecap = new Fields(iommu, ECAP)
  ecap.ask(answers, 'the hardware has scalable mode', 'SMTS')
  const words = (option(commandLine, 'intel_iommu') ?? '').split(',')
  const mode = iommu.register('RTADDR') === null ? null : new Fields(iommu, RTADDR).get('TTM')
  const off =
    words.includes('off') || words.includes('sm_off') || messages.some((text) => /Scalable mode is disallowed/i.test(text))
  const on = words.includes('sm_on') || messages.some((text) => /Enable scalable mode if hardware supports/i.test(text))
  const default_ = config?.get('CONFIG_INTEL_IOMMU_SCALABLE_MODE_DEFAULT_ON')
  const wanted = off ? false : on ? true : default_ === undefined ? null : default_ === 'y'
  answers.ask(
    'scalable mode is in use',
    mode !== null ? mode === 1 : wanted === true && ecap.get('SMTS') !== 1 ? null : wanted,
    mode !== null
      ? `RTADDR.TTM = ${mode}`
      : off
        ? 'the kernel was told not to'
        : on
          ? 'the kernel was told to'
          : default_ !== undefined
            ? `the default of this kernel (${default_})`
            : 'neither sm_on nor sm_off was seen',
    'intel_iommu=on,sm_on on the kernel command line',
  )
  ecap.ask(answers, 'it takes requests with PASID', 'PASID')
  ecap.ask(answers, 'it takes page requests', 'PRS')
  ecap.ask(answers, 'it answers translation requests (ATS)', 'DT')
  ecap.ask(answers, 'it has the first stage', 'FSTS')
  const coherent = ecap.get('SMPWCS')
  answers.ask(
    "its table walks are coherent with the CPU's caches",
    coherent === null ? null : coherent === 1,
    ecap.text('SMPWCS'),
    coherent === null ? TELL_REGISTERS : `Linux refuses to share processes without it; ${OTHER_HARDWARE}`,
  )
  const flags = (flag: string) => (cpuFlags === null ? null : cpuFlags.has(flag))
  fits(
    answers,
    '1 GiB pages, where the CPU has them',
    flags('pdpe1gb'),
    cap.get('FS1GP'),
    cap.text('FS1GP'),
    messages.some((text) => /SVM disabled, incompatible 1GB page/i.test(text)),
  )
  const la57 = option(commandLine, 'no5lvl') !== null ? false : flags('la57')
  fits(
    answers,
    '5-level tables, where the CPU uses them',
    la57,
    cap.get('FS5LP'),
    cap.text('FS5LP'),
    messages.some((text) => /SVM disabled, incompatible paging mode/i.test(text)),
  )
  return answers.list
}

/** Something that the IOMMU needs only where the CPU has it. */
function fits(answers: Answers, what: string, cpu: boolean | null, iommu: number | null, text: string, refused: boolean): void {
  const holds = refused ? false : iommu === 1 || cpu === false ? true : iommu === null || cpu === null ? null : false
  const because = refused
    ? 'the kernel says that they differ'
    : cpu === null && iommu !== 1
      ? `${text}; what the CPU has is not known`
      : text
  const change =
    holds === null
      ? 'give /proc/cpuinfo too'
      : 'no5lvl on the kernel command line makes the CPU use 4 levels; for the rest other hardware'
  answers.ask(`it can do ${what}`, holds, because, change)
}

function amdvi(iommu: IommuEvidence, { commandLine, cpuFlags }: Evidence): Answer[] {
  const answers = new Answers(iommu.name)
  const efr = new Fields(iommu, EXT_FEATURE)
  efr.ask(answers, 'it has guest (v2) page tables', 'GTSup')
  efr.ask(answers, 'it takes page requests (PPR)', 'PPRSup')
  const bits = efr.get('PASmax')
  answers.ask(
    'it takes PASIDs',
    bits === null ? null : efr.get('GTSup') === 1,
    bits === null ? efr.text('PASmax') : `${efr.text('PASmax')}: ${bits + 1} bits`,
    bits === null ? TELL_REGISTERS : OTHER_HARDWARE,
  )
  const glx = efr.get('GLXSup')
  answers.ask(
    'its GCR3 tables reach all PASIDs that devices have',
    glx === null ? null : bits !== null && 9 * (glx + 1) >= Math.min(bits + 1, 20),
    efr.text('GLXSup'),
    glx === null ? TELL_REGISTERS : OTHER_HARDWARE,
  )
  const gats = efr.get('GATS')
  const la57 = option(commandLine, 'no5lvl') !== null ? false : cpuFlags === null ? null : cpuFlags.has('la57')
  // x86 has no tables of 6 levels: 5 are all that count. 3 is reserved.
  const levels = gats === null || gats === 3 ? null : gats === 0 ? 4 : 5
  answers.ask(
    "its guest tables have as many levels as the CPU's",
    levels === 5 || (levels === 4 && la57 === false) ? true : levels === null || la57 === null ? null : false,
    `${efr.text('GATS')}${levels === null ? '' : `: ${levels} levels`}${la57 === null && levels === 4 ? '; whether the CPU uses 5 is not known' : ''}`,
    levels === null
      ? TELL_REGISTERS
      : la57 === null
        ? 'give /proc/cpuinfo too'
        : 'no5lvl on the kernel command line makes the CPU use 4',
  )
  return answers.list
}

/** Bits that Linux prints as `features 0x…` of an SMMUv3: arm-smmu-v3.h, ARM_SMMU_FEAT_*. */
const FEAT = { pri: 4, ats: 5, coherent: 8, stage1: 9, stalls: 11 } as const

function smmuv3(iommu: IommuEvidence, { commandLine, config }: Evidence): Answer[] {
  const answers = new Answers(iommu.name)
  const idr0 = new Fields(iommu, IDR0)
  const idr1 = new Fields(iommu, IDR1)
  const idr5 = new Fields(iommu, IDR5)
  const printed = iommu.facts.get('linux-features')
  const feature = (bit: number): boolean | null => (printed === undefined ? null : ((printed >> BigInt(bit)) & 1n) === 1n)
  const either = (condition: string, field: string, bit: number) => {
    const value = idr0.get(field)
    const holds = value === null ? feature(bit) : value !== 0
    const because =
      value === null && printed !== undefined
        ? `bit ${bit} of the features that Linux prints (0x${printed.toString(16)})`
        : idr0.text(field)
    answers.ask(condition, holds, because, holds === null ? TELL_REGISTERS : OTHER_HARDWARE)
  }
  either("its table walks are coherent with the CPU's caches", 'COHACC', FEAT.coherent)
  either('it has stage 1', 'S1P', FEAT.stage1)
  idr1.ask(answers, 'it takes SubstreamIDs', 'SSIDSIZE')
  const asid = idr0.get('ASID16')
  answers.ask(
    "its ASIDs are as wide as the CPU's",
    asid === null ? null : asid === 1,
    `${idr0.text('ASID16')}${asid === 0 ? ': 8 bits, and CPUs with 16 are usual' : ''}`,
    asid === null ? TELL_REGISTERS : OTHER_HARDWARE,
  )
  const page =
    config === null
      ? null
      : (['4K', '16K', '64K'] as const).find(
          (size) => config.get(`CONFIG_ARM64_${size}_PAGES`) === 'y' || config.get(`CONFIG_PAGE_SIZE_${size}B`) === 'y',
        )
  const granules = (['4K', '16K', '64K'] as const).filter((size) => idr5.get(`GRAN${size}`) === 1)
  const known = idr5.get('GRAN4K') !== null
  answers.ask(
    "it has the CPU's page size",
    !known ? null : granules.length === 3 ? true : page == null ? null : granules.includes(page),
    known ? `IDR5: ${granules.join(', ') || 'none'}${page == null ? '' : `; the kernel has ${page}`}` : idr5.text('GRAN4K'),
    known
      ? page == null
        ? 'give the kernel configuration: it has the page size'
        : 'a kernel with another page size'
      : TELL_REGISTERS,
  )
  const stall = idr0.get('STALL_MODEL')
  const stalls = stall === null ? feature(FEAT.stalls) : stall !== 1
  const pri = idr0.get('PRI') === null ? feature(FEAT.pri) : idr0.get('PRI') === 1
  answers.ask(
    'page faults can be answered: stalls or page requests',
    stalls === true || pri === true ? true : stalls === null || pri === null ? null : false,
    stall === null
      ? printed === undefined
        ? idr0.text('STALL_MODEL')
        : `bits ${FEAT.pri} and ${FEAT.stalls} of the features that Linux prints`
      : idr0.text('STALL_MODEL', 'PRI'),
    stall === null && printed === undefined ? TELL_REGISTERS : OTHER_HARDWARE,
  )
  const passthrough = option(commandLine, 'iommu.passthrough')
  const enabled = new Fields(iommu, CR0).get('SMMUEN')
  answers.ask(
    'translation is on',
    enabled === null ? null : enabled === 1,
    enabled === null ? 'CR0 is not known' : `CR0.SMMUEN = ${enabled}`,
    enabled === null ? TELL_REGISTERS : 'the driver of the SMMU (CONFIG_ARM_SMMU_V3) and its node in the firmware tables',
  )
  answers.ask(
    'devices have a stage 1 domain',
    commandLine === null || passthrough === '1' ? null : true,
    commandLine === null
      ? 'the command line is not known'
      : passthrough === '1'
        ? 'iommu.passthrough=1 makes identity domains, which not all kernels combine with PASIDs'
        : 'nothing on the command line says otherwise',
    commandLine === null ? 'give the kernel command line' : 'iommu.passthrough=0 on the kernel command line',
  )
  return answers.list
}

function riscv(iommu: IommuEvidence, { messages }: Evidence): Answer[] {
  const answers = new Answers(iommu.name)
  const capabilities = new Fields(iommu, CAPABILITIES, 'capabilities')
  const some = (condition: string, fields: readonly string[]) => {
    const values = fields.map((field) => capabilities.get(field))
    answers.ask(
      condition,
      values[0] === null ? null : values.some((value) => value === 1),
      capabilities.text(...fields),
      values[0] === null ? TELL_REGISTERS : OTHER_HARDWARE,
    )
  }
  some('it has process directories', ['PD8', 'PD17', 'PD20'])
  const mode = messages.map((text) => /\bMMU (?:mode|type): ?(sv\d\d)/i.exec(text)?.[1]).find((found) => found !== undefined)
  if (mode === undefined) some("it walks tables of the CPU's kind (satp)", ['Sv39', 'Sv48', 'Sv57'])
  else some(`it walks tables of the CPU's kind (${mode})`, [mode.replace('sv', 'Sv')])
  some('it answers translation requests and page requests (ATS)', ['ATS'])
  return answers.list
}

const BY_KIND: Readonly<Record<string, (iommu: IommuEvidence, evidence: Evidence) => Answer[]>> = { smmuv3, vtd, amdvi, riscv }

/** Conditions of one IOMMU. */
export function iommuAnswers(iommu: IommuEvidence, evidence: Evidence): Answer[] {
  return BY_KIND[iommu.kind]?.(iommu, evidence) ?? []
}

/** Conditions of one device. */
export function deviceAnswers(device: DeviceEvidence): Answer[] {
  const answers = new Answers(device.name)
  const hidden = 'run lspci as root: it hides capabilities from others'
  const has = (condition: string, capability: object | null, name: string) =>
    answers.ask(
      condition,
      device.readable ? capability !== null : null,
      device.readable ? `${capability === null ? 'no ' : ''}${name} capability` : 'lspci shows no capabilities',
      device.readable ? 'another device; or its firmware hides the capability' : hidden,
    )
  has('it can cache translations (ATS)', device.ats, 'ATS')
  has('it can send PASIDs', device.pasid, 'PASID')
  if (device.pasid !== null && device.pasid.bits !== null)
    answers.ask('its PASIDs have bits', device.pasid.bits > 0, `Max PASID Width: ${device.pasid.bits}`, 'another device')
  has('it can ask for pages (PRI)', device.pri, 'PRI')
  const on = (condition: string, enabled: boolean | null | undefined, register: string, change: string) => {
    if (enabled !== undefined)
      answers.ask(
        condition,
        enabled,
        enabled === null ? `${register} is not shown` : `${register}: Enable${enabled ? '+' : '-'}`,
        change,
      )
  }
  const driver =
    device.driver === null
      ? 'a driver that asks for shared virtual addressing has to be bound to it'
      : `its driver (${device.driver}) and the kernel have to ask for it; see the conditions of the IOMMU`
  on(
    'PASID is on',
    device.pasid?.enabled,
    'PASIDCtl',
    device.ats?.enabled === true
      ? 'PASID has to be enabled before ATS: ATS is on already, and while it is, the PASID bit cannot change'
      : driver,
  )
  on('ATS is on', device.ats?.enabled, 'ATSCtl', `${driver}; pci=noats switches it off`)
  on('page requests are on', device.pri?.enabled, 'PRICtl', driver)
  return answers.list
}

/** What the kernel itself has to have. */
export function kernelAnswers({ commandLine, config, messages, iommus }: Evidence): Answer[] {
  const answers = new Answers('kernel')
  if (config !== null) {
    const kinds = new Set(iommus.map(({ kind }) => kind))
    const wanted: [string, boolean][] = [
      ['CONFIG_PCI_PASID', true],
      ['CONFIG_PCI_PRI', true],
      ['CONFIG_PCI_ATS', true],
      ['CONFIG_IOMMU_SVA', true],
      ['CONFIG_INTEL_IOMMU_SVM', kinds.has('vtd')],
      ['CONFIG_ARM_SMMU_V3_SVA', kinds.has('smmuv3')],
    ]
    for (const [name, applies] of wanted)
      if (applies)
        answers.ask(
          `${name} is set`,
          config.get(name) === 'y',
          `${name}=${config.get(name) ?? 'n'}`,
          'a kernel that is built with it',
        )
  }
  if (commandLine !== null) {
    const off =
      ['off', 'soft'].includes(option(commandLine, 'iommu') ?? '') ||
      option(commandLine, 'intel_iommu')?.split(',').includes('off') === true ||
      option(commandLine, 'amd_iommu')?.split(',').includes('off') === true
    answers.ask(
      'the IOMMU is not switched off',
      !off,
      off ? 'the command line switches it off' : 'nothing on the command line switches it off',
      'leave out iommu=off, iommu=soft, intel_iommu=off, amd_iommu=off',
    )
    const ats = (option(commandLine, 'pci') ?? '').split(',').includes('noats')
    answers.ask('ATS is not switched off', !ats, ats ? 'pci=noats' : 'no pci=noats', 'leave out pci=noats')
  }
  for (const text of messages) {
    const refused =
      /Unable to turn on user SVA feature|Failed to enable SVA|SVA (?:is )?not supported|Failed to enable PASID/i.exec(text)
    if (refused !== null)
      answers.ask(
        'no driver reports that it is refused',
        false,
        text.slice(0, 160),
        'the conditions that fail elsewhere in this list',
      )
  }
  return answers.list
}
