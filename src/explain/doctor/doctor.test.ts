import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { encode, wordsToU64 } from '../../base/layout.ts'
import { EXT_FEATURE } from '../../format/amdvi/registers.ts'
import { CAPABILITIES } from '../../format/riscv/registers.ts'
import { IDR0, IDR1, IDR5 } from '../../format/smmuv3/registers.ts'
import { CAP, ECAP, RTADDR } from '../../format/vtd/registers.ts'
import { type Answer, diagnose, type Evidence, type IommuEvidence, joined, readText } from './index.ts'

const NOTHING: Evidence = { iommus: [], devices: [], commandLine: null, messages: [], cpuFlags: null, config: null }
const word = (words: Uint32Array) => wordsToU64(words)[0]!

function iommu(kind: string, values: Readonly<Record<string, bigint>>): IommuEvidence {
  return { kind, name: kind, register: (name) => values[name] ?? null, facts: new Map() }
}

const verdict = (answers: readonly Answer[], condition: string | RegExp) => {
  const found = answers.filter((answer) =>
    typeof condition === 'string' ? answer.condition.includes(condition) : condition.test(answer.condition),
  )
  expect(found, `one condition like ${condition}`).toHaveLength(1)
  return found[0]!.verdict
}

/** Hardware of each kind that can do all, and for each field the condition that fails without it. */
const KINDS = [
  {
    kind: 'vtd',
    good: (without: string) => ({
      CAP: word(encode(CAP, { FS1GP: without === 'FS1GP' ? 0 : 1, FS5LP: without === 'FS5LP' ? 0 : 1 })),
      ECAP: word(
        encode(
          ECAP,
          Object.fromEntries(['SMTS', 'PASID', 'PRS', 'DT', 'FSTS', 'SMPWCS'].map((field) => [field, field === without ? 0 : 1])),
        ),
      ),
      RTADDR: word(encode(RTADDR, { TTM: without === 'TTM' ? 0 : 1 })),
    }),
    fails: {
      SMTS: 'has scalable mode',
      PASID: 'requests with PASID',
      PRS: 'takes page requests',
      DT: 'answers translation requests',
      FSTS: 'has the first stage',
      SMPWCS: 'coherent',
      FS1GP: '1 GiB pages',
      FS5LP: '5-level',
      TTM: 'scalable mode is in use',
    },
  },
  {
    kind: 'amdvi',
    good: (without: string) => ({
      EXT_FEATURE: word(
        encode(EXT_FEATURE, {
          GTSup: without === 'GTSup' ? 0 : 1,
          PPRSup: without === 'PPRSup' ? 0 : 1,
          PASmax: 19,
          GLXSup: without === 'GLXSup' ? 0 : 2,
          GATS: without === 'GATS' ? 0 : 1,
        }),
      ),
    }),
    fails: { PPRSup: 'page requests', GLXSup: 'GCR3 tables', GATS: 'as many levels' },
  },
  {
    kind: 'smmuv3',
    good: (without: string) => ({
      IDR0: word(
        encode(IDR0, {
          S1P: without === 'S1P' ? 0 : 1,
          COHACC: without === 'COHACC' ? 0 : 1,
          ASID16: without === 'ASID16' ? 0 : 1,
          STALL_MODEL: without === 'STALL_MODEL' ? 1 : 0,
        }),
      ),
      IDR1: word(encode(IDR1, { SSIDSIZE: without === 'SSIDSIZE' ? 0 : 16 })),
      IDR5: word(encode(IDR5, { GRAN4K: 1, GRAN16K: 1, GRAN64K: 1 })),
      CR0: 1n,
    }),
    fails: {
      S1P: 'has stage 1',
      COHACC: 'coherent',
      ASID16: 'ASIDs',
      STALL_MODEL: 'faults can be answered',
      SSIDSIZE: 'SubstreamIDs',
    },
  },
  {
    kind: 'riscv',
    good: (without: string) => ({
      capabilities: word(
        encode(CAPABILITIES, {
          PD8: without === 'PD8' ? 0 : 1,
          Sv48: without === 'Sv48' ? 0 : 1,
          ATS: without === 'ATS' ? 0 : 1,
        }),
      ),
    }),
    fails: { PD8: 'process directories', Sv48: 'satp', ATS: 'translation requests' },
  },
] as const

const CPU = new Set(['la57', 'pdpe1gb'])

describe.each(KINDS)('$kind', ({ kind, good, fails }) => {
  const evidence = (without: string): Evidence => ({
    ...NOTHING,
    commandLine: 'quiet',
    cpuFlags: CPU,
    iommus: [iommu(kind, good(without))],
  })

  it('that can do all fails nothing', () => {
    const answers = diagnose(evidence('')).filter(({ where }) => where === kind)
    expect(answers.filter((answer) => answer.verdict !== 'pass')).toEqual([])
  })

  it.each(Object.entries(fails))('without %s fails one condition, and says what would change it', (field, condition) => {
    const answers = diagnose(evidence(field)).filter(({ where }) => where === kind)
    expect(verdict(answers, condition)).toBe('fail')
    expect(answers.filter((answer) => answer.verdict !== 'pass')).toHaveLength(1)
    expect(answers.find((answer) => answer.verdict === 'fail')!.change).toBeTruthy()
  })

  it('of which no register is known is unknown in all that registers tell', () => {
    const answers = diagnose({ ...NOTHING, iommus: [iommu(kind, {})] }).filter(({ where }) => where === kind)
    expect(answers.length).toBeGreaterThan(2)
    expect(answers.filter((answer) => answer.verdict === 'fail')).toEqual([])
    for (const answer of answers) if (answer.verdict === 'unknown') expect(answer.change).toBeTruthy()
  })
})

const LSPCI = `6a:01.0 System peripheral: Intel Corporation Device 0b25
\tControl: I/O- Mem+ BusMaster+
\tCapabilities: [40] Express (v2) Root Complex Integrated Endpoint, MSI 00
\tCapabilities: [220 v1] Address Translation Service (ATS)
\t\tATSCap:\tInvalidate Queue Depth: 00
\t\tATSCtl:\tEnable+, Smallest Translation Unit: 00
\tCapabilities: [230 v1] Process Address Space ID (PASID)
\t\tPASIDCap: Exec- Priv+, Max PASID Width: 14
\t\tPASIDCtl: Enable- Exec- Priv-
\tCapabilities: [240 v1] Page Request Interface (PRI)
\t\tPRICtl: Enable- Reset-
\t\tPRISta: RF- UPRGI- Stopped+ PASID+
\tKernel driver in use: idxd

00:1f.0 ISA bridge: Intel Corporation Device 2918
\tCapabilities: <access denied>
`

describe('lspci -vvv', () => {
  it('tells which capabilities a device has, and whether they are on', () => {
    const evidence = readText(LSPCI)
    expect(evidence.kind).toBe('lspci')
    expect(evidence.devices).toMatchObject([
      {
        name: '0000:6a:01.0',
        driver: 'idxd',
        readable: true,
        ats: { enabled: true },
        pasid: { enabled: false, bits: 20 },
        pri: { enabled: false, responsePasid: true },
      },
      { name: '0000:00:1f.0', readable: false, ats: null, pasid: null, pri: null },
    ])
  })

  it('shows that PASID has to be enabled before ATS', () => {
    const answers = diagnose(readText(LSPCI))
    expect(answers.find(({ condition }) => condition === 'PASID is on')).toMatchObject({
      verdict: 'fail',
      change: expect.stringContaining('before ATS'),
    })
    expect(verdict(answers, 'ATS is on')).toBe('pass')
    // Of devices without any of the three nothing is said, unless they are asked for.
    expect(answers.some(({ where }) => where === '0000:00:1f.0')).toBe(false)
    const asked = diagnose(readText(LSPCI), '0000:00:1f.0').filter(({ where }) => where === '0000:00:1f.0')
    expect(asked.map((answer) => [answer.verdict, answer.change])).toEqual(
      Array(3).fill(['unknown', expect.stringContaining('as root')]),
    )
  })
})

describe('a kernel log', () => {
  it('has the registers of Intel and AMD IOMMUs, features of an SMMUv3, and the command line, behind any prefix', () => {
    const log = [
      '[    0.000000] Command line: BOOT_IMAGE=/vmlinuz root=/dev/sda1 intel_iommu=on,sm_on',
      'Jan 02 03:04:05 host kernel: DMAR: dmar1: reg_base_addr fed90000 ver 1:0 cap d2008c222f0686 ecap 1000f00f4e',
      '[    2.130404] AMD-Vi: Extended features (0x5000f0000a9d7, 0x0): PreF PPR X2APIC GT IA GA HE',
      '<6>[    1.1] arm-smmu-v3 arm-smmu-v3.0.auto: ias 48-bit, oas 48-bit (features 0x00000faf)',
    ].join('\n')
    const evidence = readText(log)
    expect(evidence.kind).toBe('log')
    expect(evidence.commandLine).toContain('intel_iommu=on,sm_on')
    expect(evidence.iommus.map(({ kind, name }) => `${kind} ${name}`)).toEqual([
      'vtd dmar1',
      'amdvi AMD-Vi',
      'smmuv3 arm-smmu-v3.0.auto',
    ])
    expect(evidence.iommus[0]!.register('CAP')).toBe(0xd2008c222f0686n)
    expect(evidence.iommus[1]!.register('EXT_FEATURE')).toBe(0x5000f0000a9d7n)
    const answers = diagnose(evidence).filter(({ where }) => where.startsWith('arm'))
    expect(verdict(answers, 'coherent')).toBe('pass')
    expect(verdict(answers, 'SubstreamIDs')).toBe('unknown')
  })

  it('that says scalable mode is disallowed is believed', () => {
    const evidence = readText(
      '[ 0.1] DMAR: Scalable mode is disallowed\n[ 0.4] DMAR: dmar0: reg_base_addr fed90000 ver 1:0 cap 0 ecap ffffffffffffffff\n',
    )
    expect(verdict(diagnose(evidence), 'scalable mode is in use')).toBe('fail')
  })

  it('with a refusal of a driver fails', () => {
    const evidence = readText('[ 5.0] idxd 0000:6a:01.0: Unable to turn on user SVA feature.\n[ 5.1] other')
    expect(verdict(diagnose(evidence), /reports/)).toBe('fail')
  })
})

describe('texts', () => {
  it('are told apart by content', () => {
    expect(readText('BOOT_IMAGE=/vmlinuz root=/dev/sda iommu=pt quiet\n').kind).toBe('command line')
    expect(readText('processor\t: 0\nflags\t\t: fpu la57 pdpe1gb\n').cpuFlags?.has('la57')).toBe(true)
    expect(readText('# Linux/x86\nCONFIG_PCI_PASID=y\n# CONFIG_PCI_PRI is not set\n').config?.get('CONFIG_PCI_PASID')).toBe('y')
  })

  it('say that ATS or the IOMMU is switched off', () => {
    const answers = diagnose(readText('root=/dev/sda pci=noats,nomsi iommu=off'))
    expect(verdict(answers, 'ATS is not switched off')).toBe('fail')
    expect(verdict(answers, 'IOMMU is not switched off')).toBe('fail')
  })

  it('of any kind never make it crash, and nothing is known from nothing', () => {
    const line = fc.constantFrom(
      ...LSPCI.split('\n'),
      'CONFIG_X=y',
      'flags : la57',
      'root=/dev/sda',
      'DMAR: dmar0: reg_base_addr 1 ver 1:0 cap f ecap f',
    )
    fc.assert(
      fc.property(fc.array(fc.oneof(line, fc.string())), (lines) => {
        diagnose(joined([readText(lines.join('\n'))]))
      }),
    )
    expect(diagnose(NOTHING).map(({ verdict: one }) => one)).toEqual(['unknown', 'unknown'])
  })
})
