/* Tokens and keys of an issuer that is nobody's: made once, with private keys that were thrown
 * away. */
#ifndef KIST_TESTS_UNIT_AUTH_JWT_FIXTURE_H
#define KIST_TESTS_UNIT_AUTH_JWT_FIXTURE_H

#define JWT_KEY_RSA                                                                              \
    "{\"kty\":\"RSA\",\"kid\":\"rsa-1\",\"use\":\"sig\",\"alg\":\"RS256\",\"n\":"                \
    "\"rPBHzJoNy26lTNJnfaOYLN"                                                                   \
    "xA2dXsftg9tWYUw06dlzBCbnBP9Yxn4dA7ti3ZfwYZVWYOQNpZsVqxmyEGjQu5FXPU4b08rvCsXgqr3p"           \
    "YylutJJMSyPkM_beDGyEc5kQHsMiyOwb8CZI3JIei6ER8XSKiRVQzy0FS0KAP9cR2b9EMiwQzUkJC_ZE"           \
    "N-f0A2q5QECz8iCfh-o_NmmXDViICBv3MK3RMiGJeelCSyZVeeg1c54GTeCdHz57pVIyZTtjOxkcJa0e"           \
    "YPPEnrTZ_1EbqqONUtz5RzvlBnkxwPsx3fEriF3rhnC9WkrItBvPiUL_StNi4cf4QSTHfLv5qBHShpNQ"           \
    "\",\"e\":\"AQAB\"}"
#define JWT_KEY_EC                                                                               \
    "{\"kty\":\"EC\",\"kid\":\"ec-1\",\"use\":\"sig\",\"crv\":\"P-256\",\"x\":"                  \
    "\"MMz2lMfnmH5Fir3j4jvm0qVs"                                                                 \
    "Lf_Q-Ys0S8DdiyDLSZU\",\"y\":\"XAfZToaBMMM7YN5UopsgY9BShRUEjbsLFCi4qb46hCQ\"}"
#define JWT_KEY_WEAK                                                                             \
    "{\"kty\":\"RSA\",\"kid\":\"weak\",\"use\":\"sig\",\"alg\":\"RS256\",\"n\":"                 \
    "\"ugZvZNAJ9gRQyp1VZo7_ZRH"                                                                  \
    "0FCqs-P2jm2YOYJnByIF2WFDmP8I3truHZB_-DQk28OP7BCytG2jKeIEWcMaouHyy1xBcawUnQoMyWC0"           \
    "QI7G3YDtsw7yEcH0MTofIOAoPb_bs7WsUlwbSmhDe6OUbNmDpmYkBqXfuuEOCwQIRdcs\",\"e\":\"AQAB\""      \
    "}"
#define JWT_RSA                                                                                  \
    "eyJhbGciOiAiUlMyNTYiLCAidHlwIjogIkpXVCIsICJraWQiOiAicnNhLTEifQ.eyJpc3MiOiAiaHR0c"           \
    "HM6Ly9pZC5leGFtcGxlLmNvbS9yZWFsbSIsICJzdWIiOiAiYnVpbGQtNyIsICJhdWQiOiAia2lzdCIsI"           \
    "CJpYXQiOiAxNzAwMDAwMDAwLCAiZXhwIjogNDAwMDAwMDAwMH0.ic3gMmWy-PCBhg6q9e1gtHxhZkMj1"           \
    "BpCCNSQqRIlfxC1dOzLoyfxlLFCVCqXYkwz_BtxV3_HpVdluSesL2slhbiwA4DgezIfmQexVsSctE9Ys"           \
    "D8s-KY_E5MI8olHglKclhKg86HqoiO_47-Dk4x6KDkIUv2wWtHDDOUOnDimBCOQBGhF2LAQy-tqACcQ8"           \
    "Uk1-RhaHUokAbqAVL_3VTH70JQ3jyNgqmj5XpVSdwcFyPxx8Z3Y2bj3A4gCbM7nK7vyTuRIlzccS6F0_"           \
    "DTu9EY4pu4BvCJx_lE-mcsIzn_N7nxZ8W6D4XgUvYs-dYQOwsO0e8sBIpgmOqjHlMxSftLfEA"
#define JWT_EC                                                                                   \
    "eyJhbGciOiAiRVMyNTYiLCAidHlwIjogIkpXVCIsICJraWQiOiAiZWMtMSJ9.eyJpc3MiOiAiaHR0cHM"           \
    "6Ly9pZC5leGFtcGxlLmNvbS9yZWFsbSIsICJzdWIiOiAiYnVpbGQtNyIsICJhdWQiOiAia2lzdCIsICJ"           \
    "pYXQiOiAxNzAwMDAwMDAwLCAiZXhwIjogNDAwMDAwMDAwMCwgImFtciI6IFsicHdkIiwgIm1mYSJdLCA"           \
    "ibmJmIjogMTcwMDAwMDAwMH0.bOrPm8A0RB1JUtLr9VVm-kSabRlZ8g1Pm6d7i1wCfswtNWfLDwvl-dA"           \
    "3sF1bphdfRviLdLyM3YPHCZgbCH9x4A"
#define JWT_AUDIENCES                                                                            \
    "eyJhbGciOiAiRVMyNTYiLCAidHlwIjogIkpXVCIsICJraWQiOiAiZWMtMSJ9.eyJpc3MiOiAiaHR0cHM"           \
    "6Ly9pZC5leGFtcGxlLmNvbS9yZWFsbSIsICJzdWIiOiAiYnVpbGQtNyIsICJhdWQiOiBbImEiLCAiYiJ"           \
    "dLCAiaWF0IjogMTcwMDAwMDAwMCwgImV4cCI6IDQwMDAwMDAwMDAsICJhenAiOiAiYiJ9.s8rfNogjLE"           \
    "DhrEP6JKT7i6p2KBbpN-fR2WikHI-ccmckLlKBwrKoUTf5TK7j0xEOOiSsM_Kdb8xpebVe_9nyyA"
#define JWT_NONE                                                                                 \
    "eyJhbGciOiAibm9uZSIsICJ0eXAiOiAiSldUIiwgImtpZCI6ICJyc2EtMSJ9.eyJpc3MiOiAiaHR0cHM"           \
    "6Ly9pZC5leGFtcGxlLmNvbS9yZWFsbSIsICJzdWIiOiAiYnVpbGQtNyIsICJhdWQiOiAia2lzdCIsICJ"           \
    "pYXQiOiAxNzAwMDAwMDAwLCAiZXhwIjogNDAwMDAwMDAwMH0."
#define JWT_HS256                                                                                \
    "eyJhbGciOiAiSFMyNTYiLCAidHlwIjogIkpXVCIsICJraWQiOiAicnNhLTEifQ.eyJpc3MiOiAiaHR0c"           \
    "HM6Ly9pZC5leGFtcGxlLmNvbS9yZWFsbSIsICJzdWIiOiAiYnVpbGQtNyIsICJhdWQiOiAia2lzdCIsI"           \
    "CJpYXQiOiAxNzAwMDAwMDAwLCAiZXhwIjogNDAwMDAwMDAwMH0.fTRe3zT5aP0OBLiKdWxhhbRGDgHX4"           \
    "sTY4w1iQ2QNE6s"
#define JWT_WEAK                                                                                 \
    "eyJhbGciOiAiUlMyNTYiLCAidHlwIjogIkpXVCIsICJraWQiOiAid2VhayJ9.eyJpc3MiOiAiaHR0cHM"           \
    "6Ly9pZC5leGFtcGxlLmNvbS9yZWFsbSIsICJzdWIiOiAiYnVpbGQtNyIsICJhdWQiOiAia2lzdCIsICJ"           \
    "pYXQiOiAxNzAwMDAwMDAwLCAiZXhwIjogNDAwMDAwMDAwMH0.KDu6o2SRJue7n-zd3aw96kWxOC8IS5T"           \
    "pj39kWyy6hio65AxE9wy2Zx2c7GoNMXMoLaUBJ2jXDMSHYLeTOpv0LHi4n9lUyt19vN-laqq1_2CTINo"           \
    "nLsXLyw52X7sZ-1CZZ_uQU1G4DucT5cvnkEsX6_33sI3eBLu3-RJ_WYdL3L0"
#define JWT_NO_KID                                                                               \
    "eyJhbGciOiAiUlMyNTYiLCAidHlwIjogIkpXVCJ9.eyJpc3MiOiAiaHR0cHM6Ly9pZC5leGFtcGxlLmN"           \
    "vbS9yZWFsbSIsICJzdWIiOiAiYnVpbGQtNyIsICJhdWQiOiAia2lzdCIsICJpYXQiOiAxNzAwMDAwMDA"           \
    "wLCAiZXhwIjogNDAwMDAwMDAwMH0.Isk5WohwPCrSicpCgqpXd1wINLTqc0Eo_7qk7ROBF1gqrbr5hgY"           \
    "68pQCa1eQRUBktFMkTobeLhKJn-UoAotwXJRwbgkhrO1LXXopjJ8RjjkPG_UU5LxTgsHCrqtn3Ce3TV6"           \
    "G_feJrKgN37-eH563EV1sgWDuGd2oVAvixNGH3ZXNKOeLqU6yR7AWVaALmai9y-9dGfZyax6Tg33tZI3"           \
    "c8JuHs2-2xWWY5zGr3Y-9iipgb0opQYTkESc0XMKoupbW5FzWCtCzDBXB_WMGVYqSwsMvyH3PB4IN4gE"           \
    "RuNC2ud78Bp7XcSO6V2RBbwdgMYU4DRhIPUZ09vhnRbYvucr-ug"
#define JWT_RSA_AS_ES256                                                                         \
    "eyJhbGciOiAiRVMyNTYiLCAidHlwIjogIkpXVCIsICJraWQiOiAicnNhLTEifQ.eyJpc3MiOiAiaHR0c"           \
    "HM6Ly9pZC5leGFtcGxlLmNvbS9yZWFsbSIsICJzdWIiOiAiYnVpbGQtNyIsICJhdWQiOiAia2lzdCIsI"           \
    "CJpYXQiOiAxNzAwMDAwMDAwLCAiZXhwIjogNDAwMDAwMDAwMH0.FJgvTYCV6IAsfjTafJ5BmsCgxdb2u"           \
    "eav8QA4vHMru2gqYbxz8UzNGvFzaZsaM3lEk2TlwRg4GNQ6YIq2jm9lezLYWRd53kCF-MhrVLhzolcWN"           \
    "7giipyy3dez1_zdmiIaXFsU1YjC14n5GkYPIjJJq-bL_PBTEGjBkiaOIsz1bUsg9aY8VbEAqxYiNOx7V"           \
    "W-jTKcCdkewOciKmrhw1OL8PLENncw-0bGk9gfhR0e505dxeU6cHQCAavSMX_pwjUaePw7gQ0ZI1UHAL"           \
    "dvfTJ5ojsuE1ncf85ya4rLVXhu50lb5meqZjPXim9wINr5ba4JIa-ZfltOfRfj34kS4hbRF4Q"
#define JWT_OTHER_KEY                                                                            \
    "eyJhbGciOiAiUlMyNTYiLCAidHlwIjogIkpXVCIsICJraWQiOiAicnNhLTEifQ.eyJpc3MiOiAiaHR0c"           \
    "HM6Ly9pZC5leGFtcGxlLmNvbS9yZWFsbSIsICJzdWIiOiAiYnVpbGQtNyIsICJhdWQiOiAia2lzdCIsI"           \
    "CJpYXQiOiAxNzAwMDAwMDAwLCAiZXhwIjogNDAwMDAwMDAwMH0.By4OZi-6rw47_auJMslXbbs-O6am3"           \
    "aczy0UHamAzgbZjQ1W-OGoeDmRq62E_-WBGdVXtVab-EHB4ZFhCdclv1ia_b8AL5v77_ygZ10V0Vvvio"           \
    "8g-Uby4DJ8uom9MB4cMSzTuBGvOJRTwxypkwkxIammyhjbWVKl0h0ik26p_enIjODUbRrO2zD_yCzmnO"           \
    "PgC9J_GkitBqJojO6Uw2SxnRb_zJX0-doirwRyOduYeZimKFRykgkZk5TXtr5EgWHIvsMYJp4tBWdjGG"           \
    "exDl_LafbByH9HgJLOPIvrlPxhqj08XkxkG4XGHblgRtDdLD9b4qFzHPhkYfv4zvImlsBEBOg"
#define JWT_UNKNOWN_KID                                                                          \
    "eyJhbGciOiAiUlMyNTYiLCAidHlwIjogIkpXVCIsICJraWQiOiAicnNhLTIifQ.eyJpc3MiOiAiaHR0c"           \
    "HM6Ly9pZC5leGFtcGxlLmNvbS9yZWFsbSIsICJzdWIiOiAiYnVpbGQtNyIsICJhdWQiOiAia2lzdCIsI"           \
    "CJpYXQiOiAxNzAwMDAwMDAwLCAiZXhwIjogNDAwMDAwMDAwMH0.apC52lJESCeuB7jZ5cD7lVCBDG_-f"           \
    "k9emotx4C5Jx4eCd6jEAzPBoERw4eMZzjpxrHQ1M0FW9bHZQzSmNvjqX5a_6_TeMpH9UP86c0INLtXMr"           \
    "6pBrQds3Lvzb4kT6JZmFgvkkELBVeUBUUyDIDm84Fqzap00EAgfr1NF28Cr6IPyjz2-ShYBhXeUBxkkb"           \
    "LxWiAewck33G_IJzPOoCWTfpJmfoFzSHjudGnql5tU-SC2QyGw58PF2BkW1i7La9G9X0bo285ilLzBss"           \
    "qw9EQEVLRIPri_Psfdyojlx8XOlSufao3IXCp1-MhNk7_xrivuJE7L0YzfZZ21N3tXP0In9zg"
#define JWT_CRIT                                                                                 \
    "eyJhbGciOiAiUlMyNTYiLCAidHlwIjogIkpXVCIsICJraWQiOiAicnNhLTEiLCAiY3JpdCI6IFsiYjY0"           \
    "Il19.eyJpc3MiOiAiaHR0cHM6Ly9pZC5leGFtcGxlLmNvbS9yZWFsbSIsICJzdWIiOiAiYnVpbGQtNyI"           \
    "sICJhdWQiOiAia2lzdCIsICJpYXQiOiAxNzAwMDAwMDAwLCAiZXhwIjogNDAwMDAwMDAwMH0.ieMj3-Q"           \
    "np5cfeg7oV0JnmHwi4wNLQod-VL9tiidcl1Y3Sg2pxUfRYVAnWt8v33NN2keJ9EI1VlOi0VdSESRjvpc"           \
    "r8hs3bCgLtrxVoiYaP7-p4vKwF7ICqUcUpo-hb6VhC0aQqjyyd2dV8EmFkKe0drDMMWRs6qS3Gx4H-wQ"           \
    "HZmqCFvQ0MRGwZmjUPe1VrIvSFLG9YLpunuLZyFX-F3mvQ2Sj59gYeXh41NAODxcHcWK7hVOYOMEvQ-7"           \
    "pjHvyp-uDaH3nghWSyAJC0plfRV7aFFb6Xsfe6cFBj0qc_S2QcMqxou7_ycokU_MWYUFl7AdvVI-HMUC"           \
    "qb4Kr57SHOgMxMA"

#endif
