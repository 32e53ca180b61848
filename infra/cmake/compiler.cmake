# One warning policy for every target, and the switches for sanitizers.
add_compile_options(-Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes
                    -Wwrite-strings -Wvla -Wundef -Werror -fno-common)
add_compile_definitions(_GNU_SOURCE)
if(CMAKE_BUILD_TYPE MATCHES "Rel")
  add_compile_options(-fstack-protector-strong)
  add_compile_definitions($<$<NOT:$<BOOL:${SANITIZE}>>:_FORTIFY_SOURCE=2>)
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
