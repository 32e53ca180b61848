# One warning policy for every target, and the switches for sanitizers. Assertions stay on in every build.
string(REPLACE "-DNDEBUG" "" CMAKE_C_FLAGS_RELWITHDEBINFO "${CMAKE_C_FLAGS_RELWITHDEBINFO}")
string(REPLACE "-DNDEBUG" "" CMAKE_C_FLAGS_RELEASE "${CMAKE_C_FLAGS_RELEASE}")
add_compile_options(-Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes
                    -Wwrite-strings -Wvla -Wundef -Werror -fno-common)
# What gcc believes about lengths of strings changes with its version and with inlining, and snprintf into a buffer of
# known size is how texts are cut here.
add_compile_options(-Wno-format-truncation)
add_compile_definitions(_GNU_SOURCE)
if(CMAKE_BUILD_TYPE MATCHES "Rel")
  add_compile_options(-fstack-protector-strong)
  if(NOT SANITIZE)
    add_compile_definitions(_FORTIFY_SOURCE=2)
  endif()
endif()
if(SANITIZE)
  add_compile_options(-fsanitize=${SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${SANITIZE})
endif()
if(BUILD_FUZZERS)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

# ss_layer(target): `target` offers its headers as <target folder>/..., and sees only the layers that it links. The
# include path is a folder with one link in it, so that including a layer above does not compile.
function(ss_layer target)
  get_filename_component(folder ${CMAKE_CURRENT_SOURCE_DIR} NAME)
  set(door ${CMAKE_BINARY_DIR}/layers/${folder})
  file(MAKE_DIRECTORY ${door})
  file(CREATE_LINK ${CMAKE_CURRENT_SOURCE_DIR} ${door}/${folder} SYMBOLIC)
  target_include_directories(${target} PUBLIC ${door})
endfunction()
